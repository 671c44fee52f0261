"""What all dashboards share: variables, annotations, layout."""

from panels import DATASOURCE, OF_INSTANCE, WIDTH

SCHEMA_VERSION = 42  # Grafana 12 and 13.


def variable(name, label, query, many):
    """A variable with the values of a label. With `many`, several can be chosen."""
    made = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "Variable"},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "hide": 0,
        "options": [],
    }
    if many:
        made["allValue"] = ".+"
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    return made


def datasource_variable():
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "options": [],
    }


def annotation(name, color, query, title, **more):
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": {"expr": query, "refId": "Annotation"},
        "titleFormat": title,
        "textFormat": "{{instance}} {{volume}}",
        **more,
    }


def annotations(metric):
    return [
        annotation(
            "Starts",
            "blue",
            f"1000 * process_start_time_seconds "
            f"and on (job, instance) {metric}{OF_INSTANCE}",
            "{{job}} started",
            useValueForTime=True,
        ),
        annotation(
            "Alerts",
            "red",
            'ALERTS{alertname=~"Ramvol.*", alertstate="firing", instance=~"$instance"}',
            "{{alertname}}",
        ),
    ]


def lay_out(panels):
    """Numbers the panels and places them from left to right, then downwards."""
    x = y = height = 0
    for number, made in enumerate(panels, 1):
        place = made["gridPos"]
        if x + place["w"] > WIDTH:
            x, y = 0, y + height
        made["id"] = number
        place.update(x=x, y=y)
        x, height = x + place["w"], place["h"]
    return panels


def dashboard(name, title, description, metric, variables, panels):
    """`metric` must be one that only the programs of this dashboard export."""
    return {
        "uid": f"ramvol-{name}",
        "title": f"ramvol / {title}",
        "description": description,
        "tags": ["ramvol"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "title": "ramvol",
                "type": "dashboards",
                "tags": ["ramvol"],
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": annotations(metric)},
        "templating": {"list": [datasource_variable(), *variables]},
        "panels": lay_out(panels),
    }
