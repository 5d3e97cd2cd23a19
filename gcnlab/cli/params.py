"""``params``: exact parameters and multiply-adds beside Tables 2, 4 and 11."""

import argparse
import json

from gcnlab.analysis import costs
from gcnlab.cli.showing import print_json
from gcnlab.experiments.variants import BACKBONES
from gcnlab.report import exports


def act(options: argparse.Namespace) -> None:
    if options.json:
        heads = costs.complexity()
        rows = json.loads(heads.to_json(orient="records"))
        for name, (parameters, adds) in zip(BACKBONES, costs.backbone_costs(), strict=True):
            counted = {"variant": name, "parameters": parameters, "multiply_adds": adds}
            rows.append(dict.fromkeys(heads) | counted)
        return print_json(rows)
    heads = exports.complexity().reset_index().to_string(index=False)
    where = "multiply-adds on a 16×16 map; published: Tables 2 and 4"
    print(f"Heads after res-5 (2048 → 21 classes, no bias), {where}.\n\n{heads}\n")
    where = "224×224; the paper prints 3700 MFlops of convolutions for both"
    print(f"Table 11, read off the built networks ({where}):")
    shown = exports.architecture()
    for title in BACKBONES:
        of = {f"{title}, {name}": name for name in ("built", "parameters", "multiply-adds")}
        print(f"\n{title}\n{shown[['output size', *of]].rename(columns=of).to_string()}")
