"""The dashboard of the driver for Kubernetes."""

from dashboard import dashboard, variable
from panels import (
    OF_INSTANCE,
    graph,
    latencies,
    process_panels,
    stat,
    total_rate,
)

METRIC = "ramvol_csi_server_reached"
CALLS = "ramvol_csi_calls_total"
CALL_TIME = "ramvol_csi_call_seconds_total"
PROVISIONED = "ramvol_csi_provisioned_bytes"
LIMIT = "ramvol_csi_memory_limit_bytes" + OF_INSTANCE
OF_FAILED = OF_INSTANCE.replace("}", ', code!="OK"}')
OF_DEAD = OF_INSTANCE.replace("}", ', state="dead"}')


def space_at_a_glance():
    return [
        stat(
            "Volumes",
            "Volumes that the drivers made.",
            "none",
            f"sum(ramvol_csi_volumes{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "Provisioned",
            "What these volumes promise: their sizes together.",
            "bytes",
            f"sum({PROVISIONED}{OF_INSTANCE})",
            width=4,
        ),
        stat(
            "Over-commit",
            "What volumes promise, as a multiple of the memory limit, on the node where "
            "that is most.",
            "none",
            f"max(sum without (class) ({PROVISIONED}{OF_INSTANCE}) / {LIMIT})",
            width=4,
            decimals=2,
        ),
    ]


def trouble_at_a_glance():
    return [
        stat(
            "Abnormal volumes",
            "Volumes with an abnormal condition: a memory limit is near, content was "
            "lost, or the device is dead.",
            "none",
            f"sum(ramvol_csi_abnormal_volumes{OF_INSTANCE})",
            [(1, "red")],
            width=4,
        ),
        stat(
            "Dead devices",
            "Block devices that have lost ramvold for good. Their pods get I/O errors; "
            "delete them.",
            "none",
            f"sum(ramvol_csi_devices{OF_DEAD})",
            [(1, "red")],
            width=4,
        ),
        stat(
            "Cleaned up",
            "Devices and inline volumes that nothing used when the drivers started, "
            "and that they took away.",
            "none",
            f"sum(ramvol_csi_cleaned_up_total{OF_INSTANCE})",
            width=4,
        ),
    ]


def space():
    return [
        graph(
            "Volumes by class",
            "By what the StorageClass says as its parameter class.",
            "none",
            [
                (
                    f"sum by (class) (ramvol_csi_volumes{OF_INSTANCE})",
                    "{{class}}",
                )
            ],
            stack=True,
        ),
        graph(
            "Provisioned by class",
            "The sizes of volumes together, beside ramvold's memory limit.",
            "bytes",
            [
                (f"sum by (class) ({PROVISIONED}{OF_INSTANCE})", "{{class}}"),
                (
                    f"sum({LIMIT})",
                    "memory limit",
                ),
            ],
        ),
        graph(
            "Abnormal volumes by cause",
            "What is wrong. server_memory and volume_memory: a memory limit is near. "
            "damaged: content was lost. dead_device: pods get I/O errors.",
            "none",
            [
                (
                    f"sum by (cause) (ramvol_csi_abnormal_volumes{OF_INSTANCE})",
                    "{{cause}}",
                )
            ],
        ),
    ]


def calls():
    return [
        graph(
            "Calls",
            "Calls of Kubernetes per second, by method.",
            "reqps",
            [(total_rate(CALLS + OF_INSTANCE, "method"), "{{method}}")],
        ),
        graph(
            "Failed calls",
            "Calls per second that were answered with an error. Kubernetes repeats "
            "them. ABORTED: another call for the volume was under way.",
            "reqps",
            [
                (
                    total_rate(CALLS + OF_FAILED, "method", "code"),
                    "{{method}} {{code}}",
                )
            ],
        ),
        graph(
            "Devices",
            "Volumes that are block devices, by the way in which they are attached.",
            "none",
            [
                (
                    f"sum by (way, state) (ramvol_csi_devices{OF_INSTANCE})",
                    "{{way}} {{state}}",
                )
            ],
        ),
    ]


def times():
    total = total_rate(CALL_TIME + OF_INSTANCE, "method")
    return [
        graph(
            "Mean time of calls",
            "How long calls took, by method.",
            "s",
            [(f"{total} / {total_rate(CALLS + OF_INSTANCE, 'method')}", "{{method}}")],
            width=12,
        ),
        latencies(
            "Attach time",
            "How long it took to make a volume a block device, median and 99th "
            "percentile.",
            "ramvol_csi_attach_duration_seconds",
            OF_INSTANCE,
            "way",
        ),
    ]


def make():
    return dashboard(
        "csi",
        "CSI",
        "Volumes for pods, as ramvol-csi makes them on each node.",
        METRIC,
        [variable("instance", "Driver", f"label_values({METRIC}, instance)", True)],
        [
            *space_at_a_glance(),
            *trouble_at_a_glance(),
            *space(),
            *calls(),
            *times(),
            *process_panels(METRIC),
        ],
    )
