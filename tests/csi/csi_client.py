"""A client of a CSI driver, as a kubelet is one: made from csi.proto alone."""

import os
import subprocess
import sys
import tempfile
import time

import grpc

SERVICES = {
    "Identity": "GetPluginInfo GetPluginCapabilities Probe",
    "Controller": "CreateVolume DeleteVolume ListVolumes GetCapacity CreateSnapshot "
    "DeleteSnapshot ListSnapshots ControllerExpandVolume ControllerGetVolume",
    "GroupController": "CreateVolumeGroupSnapshot DeleteVolumeGroupSnapshot "
    "GetVolumeGroupSnapshot",
    "Node": "NodeStageVolume NodeUnstageVolume NodePublishVolume NodeUnpublishVolume "
    "NodeGetVolumeStats NodeExpandVolume NodeGetInfo",
}


def load(proto):
    """The module of csi.proto's messages."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as out:
        subprocess.run(
            ["protoc", f"-I{os.path.dirname(proto)}", f"--python_out={out}", proto],
            check=True,
        )
        sys.path.insert(0, out)
        import csi_pb2

        sys.path.remove(out)
    return csi_pb2


class Client:
    """client.NodeStageVolume(volume_id="x", …) gives the answer."""

    def __init__(self, endpoint, messages, timeout=60):
        self.pb = messages
        self._timeout = timeout
        # Connects again at once, when the driver is back.
        self._channel = grpc.insecure_channel(
            endpoint,
            options=[
                ("grpc.min_reconnect_backoff_ms", 10),
                ("grpc.initial_reconnect_backoff_ms", 10),
                ("grpc.max_reconnect_backoff_ms", 50),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        for service, methods in SERVICES.items():
            for method in methods.split():
                setattr(self, method, self._method(service, method))

    def _method(self, service, method):
        request = getattr(self.pb, method + "Request")
        call = self._channel.unary_unary(
            f"/csi.v1.{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=getattr(self.pb, method + "Response").FromString,
        )
        return lambda **fields: call(request(**fields), timeout=self._timeout)

    def await_driver(self):
        """After it was started anew: what was a connection to the one before may end
        with the next call."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                return self.Probe()
            except grpc.RpcError as error:
                unreached = error.code() == grpc.StatusCode.UNAVAILABLE
                if not unreached or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def close(self):
        self._channel.close()

    def capability(self, fs_type="", flags=(), block=False, mode="SINGLE_NODE_WRITER"):
        capability = self.pb.VolumeCapability()
        capability.access_mode.mode = self.pb.VolumeCapability.AccessMode.Mode.Value(
            mode
        )
        if block:
            capability.block.SetInParent()
        else:
            capability.mount.fs_type = fs_type
            capability.mount.mount_flags.extend(flags)
        return capability


class Pod:
    """A volume on its way into a pod and back."""

    def __init__(self, node, client, volume, **capability):
        self.client = client
        self.id = volume
        self.capability = client.capability(**capability)
        safe = volume[:40]
        self.staging = f"{node.folder}/staging/{safe}"
        self.target = f"{node.folder}/pods/{safe}/volume"
        os.makedirs(self.staging, exist_ok=True)
        os.makedirs(os.path.dirname(self.target), exist_ok=True)

    def stage(self):
        return self.client.NodeStageVolume(
            volume_id=self.id,
            staging_target_path=self.staging,
            volume_capability=self.capability,
        )

    def publish(self, **fields):
        return self.client.NodePublishVolume(
            volume_id=self.id,
            staging_target_path=self.staging,
            target_path=self.target,
            volume_capability=self.capability,
            **fields,
        )

    def unpublish(self):
        return self.client.NodeUnpublishVolume(
            volume_id=self.id, target_path=self.target
        )

    def unstage(self):
        return self.client.NodeUnstageVolume(
            volume_id=self.id, staging_target_path=self.staging
        )

    def start(self):
        self.stage()
        self.publish()
        return self

    def end(self):
        self.unpublish()
        self.unstage()
