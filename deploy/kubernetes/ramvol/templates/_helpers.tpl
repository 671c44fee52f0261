{{/* The name of the objects: at most 52 characters, because the StatefulSet's
     pods get a label of it and 11 more. */}}
{{- define "ramvol.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- $name = .Release.Name -}}
{{- end -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that pods are selected by; they can never change. */}}
{{- define "ramvol.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "ramvol.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{ include "ramvol.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{- define "ramvol.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "ramvol.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "ramvol.fullname" . }}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* What the "restricted" pod security standard asks of a pod; 65532 is the
     image's own user. */}}
{{- define "ramvol.podSecurityContext" -}}
{{- $defaults := dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532
      "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if .Values.saves.enabled -}}
{{- $_ := set $defaults "fsGroup" 65532 -}}
{{- $_ := set $defaults "fsGroupChangePolicy" "OnRootMismatch" -}}
{{- end -}}
{{- include "ramvol.overridden" (list $defaults .Values.podSecurityContext) -}}
{{- end -}}

{{- define "ramvol.containerSecurityContext" -}}
{{- $defaults := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true
      "capabilities" (dict "drop" (list "ALL")) -}}
{{- include "ramvol.overridden" (list $defaults .Values.containerSecurityContext) -}}
{{- end -}}

{{/* The first dictionary with the keys of the second one in place of its own; null
     leaves a key out. */}}
{{- define "ramvol.overridden" -}}
{{- $made := dict -}}
{{- range . -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $made $key -}}
{{- else -}}
{{- $_ := set $made $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $made -}}
{{- end -}}

{{/* A Service for clients that leads to one replica and no other, since each has
     data of its own: a dictionary of "root", "name" and the "replica". */}}
{{- define "ramvol.service" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ramvol.labels" $root | nindent 4 }}
  {{- with $root.Values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $root.Values.service.type }}
  selector:
    {{- include "ramvol.selectorLabels" $root | nindent 4 }}
    statefulset.kubernetes.io/pod-name: {{ include "ramvol.fullname" $root }}-{{ .replica }}
  ports:
    {{- include "ramvol.clientPorts" $root | nindent 4 }}
{{- end -}}

{{- define "ramvol.clientPorts" -}}
- name: grpc
  port: 7420
  targetPort: grpc
  {{- if .Values.insecure }}
  appProtocol: kubernetes.io/h2c
  {{- end }}
{{- if .Values.nbd.enabled }}
- name: nbd
  port: 10809
  targetPort: nbd
{{- end }}
{{- end -}}

{{/* Seconds that saving or reading a save may take. */}}
{{- define "ramvol.saveSeconds" -}}
{{- if .Values.saves.enabled }}{{ int .Values.saves.timeoutSeconds }}{{ else }}0{{ end -}}
{{- end -}}

{{/* The startup probe, with time to read a save. */}}
{{- define "ramvol.startupProbe" -}}
{{- $probe := dict -}}
{{- range $key, $value := .Values.probes.startup -}}
{{- $_ := set $probe $key $value -}}
{{- end -}}
{{- if .Values.saves.enabled -}}
{{- $more := div (int .Values.saves.timeoutSeconds) (int $probe.periodSeconds) -}}
{{- $_ := set $probe "failureThreshold" (add $probe.failureThreshold $more) -}}
{{- end -}}
{{- include "ramvol.probe" (dict "root" . "path" "/healthz" "numbers" $probe) -}}
{{- end -}}

{{- define "ramvol.tlsSecret" -}}
{{- default (printf "%s-tls" (include "ramvol.fullname" .)) .Values.tls.secretName -}}
{{- end -}}

{{/* How the command line reaches servers, beside their address: by the servers' own
     certificate. */}}
{{- define "ramvol.clientEnv" -}}
- name: RAMVOL_TLS_CA
  value: /etc/ramvol-tls/ca.crt
- name: RAMVOL_TLS_CERT
  value: /etc/ramvol-tls/tls.crt
- name: RAMVOL_TLS_KEY
  value: /etc/ramvol-tls/tls.key
{{- end -}}

{{- define "ramvol.tlsMount" -}}
- name: tls
  mountPath: /etc/ramvol-tls
  readOnly: true
{{- end -}}

{{- define "ramvol.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ include "ramvol.tlsSecret" . }}
{{- end -}}

{{/* A probe: a dictionary of "root", the "path" and the "numbers". */}}
{{- define "ramvol.probe" -}}
{{- if .root.Values.insecure -}}
grpc:
  port: 7420
{{- else -}}
httpGet:
  scheme: HTTPS
  port: metrics
  path: {{ .path }}
{{- end }}
{{- range $key, $value := .numbers }}
{{ $key }}: {{ $value }}
{{- end -}}
{{- end -}}
