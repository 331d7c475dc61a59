{{/* Every default stands here or in the template that uses it, besides values.yaml: --reuse-values keeps the old release's values.yaml. */}}

{{- define "scm-agent.selector" -}}
app: gitproxy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "scm-agent.labels" -}}
{{ include "scm-agent.selector" . }}
app.kubernetes.io/name: scm-agent
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "scm-agent.enabled" -}}
{{- if dig "enabled" true (.Values.gitproxy | default dict) }}true{{ end }}
{{- end }}

{{- define "scm-agent.replicas" -}}
{{- dig "replicas" 2 (.Values.gitproxy | default dict) | int }}
{{- end }}

{{- define "scm-agent.grace" -}}
{{- dig "graceSeconds" 30 (.Values.gitproxy | default dict) | int }}
{{- end }}

{{- define "scm-agent.healthListen" -}}
{{- dig "healthListen" "0.0.0.0:8080" (.Values.gitproxy | default dict) }}
{{- end }}

{{- define "scm-agent.image" -}}
{{- $image := .Values.image | default dict -}}
{{- $repository := $image.repository | default "scm-agent" -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The access key's Secret and the key in it, as the volume wants them. */}}
{{- define "scm-agent.accessKey" -}}
{{- $secret := .Values.accessKeySecret | default dict -}}
name: {{ $secret.name | default "gitproxy" }}
items:
  - key: {{ if $secret.name }}{{ $secret.key | default "accessKey" }}{{ else }}accessKey{{ end }}
    path: accessKey
{{- end }}

{{/* What a way to a server needs, of one leg or of both: (dict "leg" NAME "values" VALUES). An empty text is one for a leg: no proxy. */}}
{{- define "scm-agent.network" -}}
{{- $proxy := .values.proxy | default dict }}
{{- $file := printf "/etc/scm-agent/%s" (.leg | empty | ternary "" (print .leg "-")) }}
{{- with .values.customCaCert }}
customCaCert = {{ contains "-----BEGIN" . | ternary . (regexReplaceAll "\\s" . "") | toJson }}
{{- end }}
{{- if .values.clientCertSecret }}
clientCert = { file = "{{ $file }}tls.crt" }
clientKey = { file = "{{ $file }}tls.key" }
{{- end }}
{{- $lines := list }}
{{- range $name := list "httpProxy" "httpsProxy" }}
{{- if $proxy.existingSecret }}
{{- $lines = append $lines (printf "%s = { file = \"%s%s\" }" $name $file $name) }}
{{- else if or (get $proxy $name) (and $.leg (hasKey $proxy $name)) }}
{{- $lines = append $lines (printf "%s = %s" $name (get $proxy $name | default "" | toJson)) }}
{{- end }}
{{- end }}
{{- if or $proxy.noProxy (and .leg (hasKey $proxy "noProxy")) }}
{{- $lines = append $lines (printf "noProxy = %s" (kindIs "slice" $proxy.noProxy | ternary (join "," $proxy.noProxy) $proxy.noProxy | default "" | toJson)) }}
{{- end }}
{{- with $lines }}

[{{ with $.leg }}{{ . }}.{{ end }}proxy]
{{- range . }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}
