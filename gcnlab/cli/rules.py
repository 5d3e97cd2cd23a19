"""``rules``: how each claim is decided, with the power and the false-alarm rate of its rule."""

import argparse
import json
from textwrap import fill

from gcnlab import files, paper
from gcnlab.analysis import power
from gcnlab.analysis.rules import OWN, RULES
from gcnlab.experiments.records import COMMITTED


def act(options: argparse.Namespace) -> None:
    if options.simulate:
        return _simulate()
    sentences = {claim["id"]: claim["claim"] for claim in paper.claims()}
    sentences |= {rule.claim: rule.text for rule in OWN}
    table = power.table((*RULES, *OWN))
    if options.json:
        return print(table.to_json(orient="records", indent=1, force_ascii=False))
    for row in table.astype(object).fillna("not simulated").to_dict("records"):
        number = row.pop("claim")
        print(fill(f"claim {number}: {sentences[number]}", 100))
        for name, value in row.items():
            if value != "":
                print(fill(f"{name}: {value}", 100, initial_indent="  ", subsequent_indent="    "))


def _simulate() -> None:
    text, checkout = json.dumps(power.simulate_all(), indent=1), COMMITTED.parent
    if not (checkout / "pyproject.toml").is_file():  # installed: its files are not the user's
        return print(text)
    path = checkout / "gcnlab" / "analysis" / "registered.json"
    files.write(f"{text}\n", path)
    print(path)
