{{/* The name of the driver is csi/identity_service.h's kDriverName. */}}
{{- define "ramvol.csi.driver" -}}csi.ramvol.dev{{- end -}}

{{- define "ramvol.csi.name" -}}{{ include "ramvol.fullname" . }}-csi{{- end -}}

{{- define "ramvol.csi.serverName" -}}{{ include "ramvol.csi.name" . }}-server{{- end -}}

{{/* Labels that pods are selected by, other than those of the StatefulSet: a
     dictionary of "root" and "name". */}}
{{- define "ramvol.csi.selectorLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end -}}

{{- define "ramvol.csi.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{ include "ramvol.csi.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
{{- end -}}

{{- define "ramvol.csi.image" -}}
{{- with .Values.csi.driver.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The folder of the driver's socket, on the node and in its pods. */}}
{{- define "ramvol.csi.pluginDir" -}}
{{ .Values.csi.kubeletDir }}/plugins/{{ include "ramvol.csi.driver" . }}
{{- end -}}

{{/* Not empty if there are snapshots. */}}
{{- define "ramvol.csi.snapshots" -}}
{{- $enabled := .Values.csi.snapshots.enabled -}}
{{- if kindIs "bool" $enabled -}}
{{- if $enabled -}}true{{- end -}}
{{- else if .Capabilities.APIVersions.Has "snapshot.storage.k8s.io/v1" -}}
true
{{- end -}}
{{- end -}}

{{/* Refuses the setting "value" unless the values choose one node: a dictionary of "root"
     and "value". */}}
{{- define "ramvol.csi.oneNode" -}}
{{- if not (get .root.Values.csi.nodeSelector "kubernetes.io/hostname") -}}
{{- fail (printf "%s is for volumes of one node: csi.nodeSelector has to name it, as {kubernetes.io/hostname: NODE}" .value) -}}
{{- end -}}
{{- if not (include "ramvol.csi.snapshots" .root) -}}
{{- fail (printf "%s needs snapshots: the cluster has no snapshot.storage.k8s.io/v1, or csi.snapshots.enabled is false" .value) -}}
{{- end -}}
{{- end -}}

{{/* Not empty if there are snapshots of groups. */}}
{{- define "ramvol.csi.groups" -}}
{{- if .Values.csi.snapshots.groups -}}
{{- include "ramvol.csi.oneNode" (dict "root" . "value" "csi.snapshots.groups") -}}
true
{{- end -}}
{{- end -}}

{{/* Where the pods of a node run, and what they have in common. */}}
{{- define "ramvol.csi.podSpec" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.csi.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.csi.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.csi.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.csi.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ramvol.csi.podLabels" -}}
{{ include "ramvol.csi.selectorLabels" . }}
{{- with .root.Values.csi.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a container needs that only speaks over Unix sockets of root: to be root,
     without any of its powers. */}}
{{- define "ramvol.csi.unprivileged" -}}
{{- $defaults := dict "runAsUser" 0 "runAsGroup" 0 "allowPrivilegeEscalation" false
      "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL"))
      "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- include "ramvol.overridden" (list $defaults .) -}}
{{- end -}}

{{- define "ramvol.csi.nodeName" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end -}}

{{/* A container of Kubernetes' own: a dictionary of "root", "name", "sidecar" (its
     key in the values), "args", and if wanted "env", "mounts" and what is "more" as
     text. */}}
{{- define "ramvol.csi.sidecar" -}}
{{- $sidecar := get .root.Values.csi.sidecars .sidecar -}}
- name: {{ .name }}
  image: {{ $sidecar.image | quote }}
  imagePullPolicy: IfNotPresent
  args:
    - --csi-address=/csi/csi.sock
    {{- range concat .args $sidecar.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- with .env }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "ramvol.csi.unprivileged" dict | nindent 4 }}
  volumeMounts:
    # Volumes that are mounted there by FUSE come along, and have to go with the mount.
    - name: plugin
      mountPath: /csi
      mountPropagation: HostToContainer
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- with .more }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
