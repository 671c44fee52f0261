"""The flags of Kubernetes' own programs beside the driver, by the images that the chart
names: those of each program's main function and of the libraries that it registers. An
image of another version needs its list read anew."""

# csi-lib-utils, package standardflags.
STANDARD = """
automaxprocs csi-address http-endpoint kube-api-burst kube-api-qps kubeconfig
leader-election leader-election-labels leader-election-lease-duration
leader-election-namespace leader-election-renew-deadline leader-election-retry-period
metrics-address metrics-path version
"""
# klog, and component-base's package logs.
LOGS = "v vmodule logging-format log-flush-frequency"

FLAGS = {
    "csi-node-driver-registrar:v2.17.0": f"""
        {LOGS} connection-timeout csi-address enable-pprof health-port http-endpoint
        kubelet-registration-path mode plugin-registration-path timeout version
    """,
    "csi-provisioner:v6.4.0": f"""
        {LOGS} {STANDARD} capacity-for-immediate-binding capacity-ownerref-level
        capacity-poll-interval capacity-threads cloning-protection-threads
        controller-publish-readonly default-fstype enable-capacity enable-pprof
        extra-create-metadata feature-gates immediate-topology kube-api-capacity-burst
        kube-api-capacity-qps master node-deployment node-deployment-base-delay
        node-deployment-immediate-binding node-deployment-max-delay
        prevent-volume-mode-conversion retry-interval-max retry-interval-start
        snapshot-orphan-sweep-interval strict-topology timeout volume-name-prefix
        volume-name-uuid-length worker-threads
    """,
    "csi-resizer:v2.3.0": f"""
        {LOGS} {STANDARD} extra-modify-metadata feature-gates handle-volume-inuse-error
        master modify-timeout resize-timeout resync-period retry-interval-max
        retry-interval-start timeout workers
    """,
    "csi-snapshotter:v8.7.0": f"""
        {LOGS} {STANDARD} extra-create-metadata feature-gates groupsnapshot-name-prefix
        groupsnapshot-name-uuid-length node-deployment resync-period retry-interval-max
        retry-interval-start snapshot-name-prefix snapshot-name-uuid-length timeout
        worker-threads
    """,
    "csi-snapshot-metadata:v1.1.0": """
        v vmodule audience csi-address disable-metrics http-endpoint kube-api-burst
        kube-api-qps kubeconfig max-streaming-duration-min metrics-path port timeout
        tls-cert tls-key version
    """,
    "livenessprobe:v2.20.0": f"""
        {LOGS} csi-address health-port http-endpoint metrics-address metrics-path
        probe-timeout
    """,
}


def of(image):
    """The flags of an image; KeyError for one that is not listed."""
    return set(FLAGS[image.rpartition("/")[2]].split())
