"""``params``: exact parameters and multiply-adds beside Tables 2, 4 and 11."""

import argparse
import json

import pandas as pd

from gcnlab.analysis import costs
from gcnlab.cli.ending import DONE
from gcnlab.cli.showing import print_json
from gcnlab.experiments.variants import BACKBONES


def act(options: argparse.Namespace) -> int:
    heads = costs.complexity()
    if options.json:
        rows = json.loads(heads.to_json(orient="records"))
        for name, (parameters, adds) in zip(BACKBONES, costs.backbone_costs(), strict=True):
            counted = {"variant": name, "parameters": parameters, "multiply_adds": adds}
            rows.append(dict.fromkeys(heads) | counted)
        print_json(rows)
        return DONE
    where = "multiply-adds on a 16×16 map; published: Tables 2 and 4"
    print(f"Heads after res-5 (2048 → 21 classes, no bias), {where}.\n\n{_for_reading(heads)}\n")
    where = "224×224; the paper prints 3700 MFlops of convolutions for both"
    print(f"Table 11, read off the built networks ({where}):")
    built = costs.architecture()
    for title in BACKBONES:
        print(f"\n{title}\n{built[title].to_string()}")
    return DONE


def _for_reading(heads: pd.DataFrame) -> str:
    shown = {
        "head": heads["variant"],
        "parameters": heads["parameters"].map("{:,}".format),
        "published": heads["published_k"].map("{:,.0f}K".format, na_action="ignore").fillna(""),
        "multiply-adds": (heads["multiply_adds"] / 1e6).map("{:,.0f}M".format),
    }
    return pd.DataFrame(shown).to_string(index=False)
