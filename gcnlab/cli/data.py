"""``data check``: is this data set complete, and as its authors published it?"""

import argparse

from gcnlab.cli import names
from gcnlab.cli.showing import print_json
from gcnlab.data import SOURCES
from gcnlab.data.check import check, describe
from gcnlab.errors import UserError


def act(options: argparse.Namespace) -> None:
    names.check("data set", options.name, SOURCES)
    try:
        result = check(options.name, options.data_root)
    except UserError as error:
        layout = SOURCES[options.name].layout if options.data_root is not None else ""
        raise UserError("\n".join(filter(None, (str(error), layout)))) from None
    print_json(result) if options.json else print(describe(result))
