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

{{/* proxy.* and customCaCert of one leg, or of both: (dict "at" PREFIX "values" VALUES) */}}
{{- define "scm-agent.network" -}}
{{- $proxy := .values.proxy | default dict }}
{{- with .values.customCaCert }}
{{- if contains "-----BEGIN" . }}
customCaCert = {{ . | toJson }}
{{- else }}
customCaCert = {{ regexReplaceAll "\\s" . "" | toJson }}
{{- end }}
{{- end }}
{{- if or $proxy.existingSecret $proxy.httpProxy $proxy.httpsProxy $proxy.noProxy }}

[{{ .at }}proxy]
{{- range $name := list "httpProxy" "httpsProxy" }}
{{- if $proxy.existingSecret }}
{{ $name }} = { file = "/etc/scm-agent/{{ $.at | replace "." "-" }}{{ $name }}" }
{{- else if get $proxy $name }}
{{ $name }} = {{ get $proxy $name | toJson }}
{{- end }}
{{- end }}
{{- with $proxy.noProxy }}
noProxy = {{ kindIs "slice" . | ternary (join "," .) . | toJson }}
{{- end }}
{{- end }}
{{- end }}
