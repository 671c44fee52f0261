{{/* ramvol.bytes: a quantity as a number of bytes, exactly.

     Takes a dictionary of "what" (for messages) and "value": bytes as a number
     or a string, or a string with one of the units below. Fails for anything
     else, for fractions, and past 2^63 - 1, the most that a volume can have.
     All arithmetic is that of int64: Helm reads numbers as float64, which are
     exact to 2^53 only, so that larger ones must be strings. */}}
{{- define "ramvol.bytes" -}}
{{- $units := dict "" 1
      "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
      "P" 1000000000000000 "E" 1000000000000000000
      "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776
      "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $max := 9223372036854775807 -}}
{{- $text := "" -}}
{{- if kindIs "string" .value -}}
{{- $text = .value -}}
{{- else if kindIs "float64" .value -}}
{{- if ge .value 9007199254740992.0 -}}
{{- fail (printf "%s: %.0f is too large for a number without quotes, which Helm would round; write it as a string" .what .value) -}}
{{- end -}}
{{- if ne (floor .value) .value -}}
{{- fail (printf "%s: %v is no whole number of bytes" .what .value) -}}
{{- end -}}
{{- $text = printf "%.0f" .value -}}
{{- else -}}
{{- $text = printf "%v" .value -}}
{{- end -}}
{{- if not (regexMatch "^[0-9]+(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$" $text) -}}
{{- fail (printf "%s: %q is no size; write bytes, or a whole number with k, M, G, T, P, E (powers of 1000) or Ki, Mi, Gi, Ti, Pi, Ei (powers of 1024), such as 10Gi" .what $text) -}}
{{- end -}}
{{- $unit := get $units (regexFind "[A-Za-z]*$" $text) -}}
{{/* Without leading zeroes, which int64 would take for octal. */}}
{{- $digits := regexReplaceAll "^0+([0-9])" (regexFind "^[0-9]+" $text) "${1}" -}}
{{- $number := int64 $digits -}}
{{- if or (ne (printf "%d" $number) $digits) (gt $number (div $max $unit)) -}}
{{- fail (printf "%s: %q is more than %d bytes, the most that there can be" .what $text $max) -}}
{{- end -}}
{{- mul $number $unit -}}
{{- end -}}

{{/* A comment beside the bytes of a quantity in powers of 1000, which is what the
     unit means in Kubernetes; ramvol's own flags take it for a power of 1024. */}}
{{- define "ramvol.decimal" -}}
{{- if regexMatch "^[0-9]+[kMGTPE]$" (toString .) }}  # {{ . }} of Kubernetes: a power of 1000
{{- end -}}
{{- end -}}

{{/* One `volumes { … }` of the file; a dictionary of "what" and "volume". */}}
{{- define "ramvol.volume" -}}
{{- $v := .volume -}}
{{- $size := include "ramvol.bytes" (dict "what" (printf "%s.size" .what) "value" $v.size) -}}
{{- if eq $size "0" -}}
{{- fail (printf "%s.size: a volume has at least 1 byte" .what) -}}
{{- end -}}
volumes {
  name: {{ $v.name | quote }}
  size_bytes: {{ $size }}{{ include "ramvol.decimal" $v.size }}
{{- with $v.allocator }}
  allocator: ALLOCATOR_{{ upper . }}
{{- end }}
{{- if hasKey $v "minFrameSize" }}
  min_frame_bytes: {{ include "ramvol.bytes" (dict "what" (printf "%s.minFrameSize" .what) "value" $v.minFrameSize) }}
{{- end }}
{{- if hasKey $v "maxFrameSize" }}
  max_frame_bytes: {{ include "ramvol.bytes" (dict "what" (printf "%s.maxFrameSize" .what) "value" $v.maxFrameSize) }}
{{- end }}
{{- if hasKey $v "zstdLevel" }}
  zstd_level: {{ int $v.zstdLevel }}
{{- end }}
{{- if hasKey $v "mergeZstdLevel" }}
  merge_zstd_level: {{ int $v.mergeZstdLevel }}
{{- end }}
{{- if hasKey $v "memoryLimit" }}
  memory_limit_bytes: {{ include "ramvol.bytes" (dict "what" (printf "%s.memoryLimit" .what) "value" $v.memoryLimit) }}{{ include "ramvol.decimal" $v.memoryLimit }}
{{- end }}
{{- if $v.readOnly }}
  read_only: true
{{- end }}
{{- range $key, $value := $v.labels }}
  labels { key: {{ $key | quote }} value: {{ $value | quote }} }
{{- end }}
}
{{- end -}}

{{/* The text of message VolumesFile for --volumes_file. */}}
{{- define "ramvol.volumesFile" -}}
# Volumes that ramvold creates when it starts: message VolumesFile as text.
{{- $names := dict }}
{{- range $i, $volume := .Values.volumes }}
{{- if hasKey $names $volume.name }}
{{- fail (printf "volumes[%d].name: there are two volumes %q" $i $volume.name) }}
{{- end }}
{{- $_ := set $names $volume.name true }}
{{ include "ramvol.volume" (dict "what" (printf "volumes[%d]" $i) "volume" $volume) }}
{{- end }}
{{- end -}}
