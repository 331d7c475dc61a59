{{/* Every default stands here or in the template that uses it, besides values.yaml: --reuse-values keeps the old release's values.yaml. */}}

{{- define "scm-hub.selector" -}}
app: scm-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "scm-hub.labels" -}}
{{ include "scm-hub.selector" . }}
app.kubernetes.io/name: scm-hub
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "scm-hub.image" -}}
{{- $image := .Values.image | default dict -}}
{{- $repository := $image.repository | default "scm-hub" -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* hub.toml without its keys. Texts are written as JSON writes them, which TOML reads the same. */}}
{{- define "scm-hub.settings" -}}
{{- $tls := .Values.tls | default dict -}}
listen = "0.0.0.0:8443"
{{- if $tls.secretName }}
tls = { certificate = "tls/tls.crt", key = "tls/tls.key"{{ if $tls.clientCaKey }}, client_ca = "tls/clients.crt"{{ end }} }
{{- else }}
danger_plain_http = true
{{- end }}
{{- with .Values.metricsListen }}
metrics_listen = {{ . | toJson }}
{{- end }}
{{- with .Values.minimumAgent }}
minimum_agent = {{ . | toJson }}
{{- end }}
{{- with .Values.limits }}

[limits]
{{- range $name, $limit := . }}
{{ $name }} = {{ $limit | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{- define "scm-hub.keys" }}
{{- range .Values.agents }}

[[agent]]
name = {{ .name | toJson }}
keys = {{ .keys | toJson }}
{{- end }}
{{- range .Values.services }}

[[service]]
name = {{ .name | toJson }}
agents = {{ .agents | toJson }}
keys = {{ .keys | toJson }}
{{- end }}
{{ end }}

{{/* Says what is wrong, and what to do, before anything is installed. */}}
{{- define "scm-hub.check" -}}
{{- $tls := .Values.tls | default dict -}}
{{- if and $tls.secretName .Values.dangerPlainHttp -}}
{{- fail "\n\ntls.secretName and dangerPlainHttp exclude each other: the hub serves https:// or http://.\n" -}}
{{- end -}}
{{- if not (or $tls.secretName .Values.dangerPlainHttp) -}}
{{- fail "\n\ntls.secretName is missing: the Secret with the hub's certificate. For example:\n  kubectl create secret tls scm-hub-tls --cert=hub.pem --key=hub.key, and --set tls.secretName=scm-hub-tls\nWhere a load balancer in front does TLS, set dangerPlainHttp=true.\n" -}}
{{- end -}}
{{- if not (or .Values.existingSecret .Values.agents) -}}
{{- fail "\n\nagents is empty: no agent could come in. `scm-hub keygen --agent NAME` prints a key and its hash. For example:\n  --set 'agents[0].name=acme' --set 'agents[0].keys[0]=sha256:...'\nOr set existingSecret to the name of a Secret with the key hub.toml.\n" -}}
{{- end -}}
{{- end }}
