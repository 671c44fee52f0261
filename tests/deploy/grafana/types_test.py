"""Grafana's own types, @grafana/schema, take the dashboards, which finds options
that are misspelt or have values that do not exist.

Argument: the folder with the dashboards. `./dev deps` installs the types beside the
compiler that it puts on the PATH.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

PANELS = "@grafana/schema/dist/esm/raw/composable"
# Enumerations count as what they are in JSON.
HEAD = f"""
import type {{ Dashboard, GraphFieldConfig }} from "@grafana/schema";
import type * as Heatmap from "{PANELS}/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as Stat from "{PANELS}/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as Table from "{PANELS}/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as TimeSeries from "{PANELS}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Json<T> =
  T extends string ? `${{T}}` :
  T extends number | boolean | null | undefined ? T :
  T extends (infer U)[] ? Json<U>[] :
  T extends object ? {{ [K in keyof T]: Json<T[K]> }} : T;
type Options<T> = Json<Partial<T>>;
type Custom = Json<GraphFieldConfig>;
"""
OPTIONS = {
    "heatmap": "Heatmap.Options",
    "stat": "Stat.Options",
    "table": "Table.Options",
    "timeseries": "TimeSeries.Options",
}
CONFIG = {
    "compilerOptions": {
        "module": "nodenext",
        "moduleResolution": "nodenext",
        "noEmit": True,
        "skipLibCheck": True,
        "strict": True,
        "target": "es2022",
    },
    "files": ["check.ts"],
}


def without_plugins_own(dashboard):
    """What Prometheus's plugin adds to the types of Grafana itself: the query of
    an annotation and what becomes of it, the definition of a variable."""
    for annotation in dashboard["annotations"]["list"]:
        for key in ("textFormat", "titleFormat", "useValueForTime"):
            annotation.pop(key, None)
        annotation["target"].pop("expr")
    for variable in dashboard["templating"]["list"]:
        variable.pop("definition", None)
    return dashboard


def declarations(dashboard):
    """(TypeScript's type, JSON) of the whole and of what the types of the whole
    leave open."""
    yield "Json<Dashboard>", dashboard
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        yield f"Options<{OPTIONS[panel['type']]}>", panel["options"]
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom:
            yield "Custom", custom


def main():
    tsc = shutil.which("tsc")
    assert tsc, "tsc is missing; ./dev deps installs it"
    modules = os.path.join(os.path.dirname(os.path.realpath(tsc)), "../..")
    lines = [HEAD]
    paths = sorted(glob.glob(os.path.join(sys.argv[1], "*.json")))
    assert paths, f"no dashboards in {sys.argv[1]}"
    for path in paths:
        with open(path) as file:
            dashboard = without_plugins_own(json.load(file))
        for kind, value in declarations(dashboard):
            lines.append(
                f"export const value{len(lines)}: {kind} = {json.dumps(value, indent=1)};"
            )
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.realpath(modules), os.path.join(folder, "node_modules"))
        with open(os.path.join(folder, "check.ts"), "w") as file:
            file.write("\n".join(lines))
        with open(os.path.join(folder, "tsconfig.json"), "w") as file:
            json.dump(CONFIG, file)
        done = subprocess.run([tsc, "--pretty", "-p", folder])
    assert done.returncode == 0, "Grafana's types do not take the dashboards"
    print(f"Grafana's types take {len(paths)} dashboards and {len(lines) - 1} parts")


if __name__ == "__main__":
    main()
