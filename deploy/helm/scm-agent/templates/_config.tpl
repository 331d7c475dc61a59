{{/* agent.toml. Texts are written as JSON writes them, which TOML reads the same. */}}
{{- define "scm-agent.config" -}}
{{- $gitproxy := .Values.gitproxy | default dict -}}
hub = {{ .Values.hub | toJson }}
accessKey = { file = "/etc/scm-agent/accessKey" }
allow = {{ .Values.allow | toJson }}
tunnels = {{ dig "tunnels" 2 $gitproxy | int }}
grace = {{ include "scm-agent.grace" . }}
healthListen = {{ include "scm-agent.healthListen" . | toJson }}
{{- with .Values.allowAddresses }}
allowAddresses = {{ . | toJson }}
{{- end }}
{{- if .Values.dangerPlainHttp }}
dangerPlainHttp = true
{{- end }}
{{- range $name, $value := $gitproxy.settings }}
{{ $name }} = {{ $value | toJson }}
{{- end }}
{{- include "scm-agent.network" (dict "leg" "" "values" .Values) }}
{{- range $leg := list "tunnel" "servers" }}
{{- with get $.Values $leg }}

[{{ $leg }}]
{{- include "scm-agent.network" (dict "leg" $leg "values" .) }}
{{- end }}
{{- end }}
{{- range $at, $credential := .Values.credentials }}

[[credential]]
origin = {{ $credential.origin | toJson }}
{{- with $credential.username }}
username = {{ . | toJson }}
{{- end }}
file = "/etc/scm-agent/credential-{{ $at }}"
{{- end }}
{{ end }}

{{/* What the Secret holds. Its hash stands on the pods, so that a changed value rolls them. */}}
{{- define "scm-agent.secret" -}}
agent.toml: {{ include "scm-agent.config" . | b64enc }}
{{- if not (.Values.accessKeySecret | default dict).name }}
accessKey: {{ .Values.accessKey | trim | b64enc }}
{{- end }}
{{- end }}

{{/* Says what is wrong, and what to do, before anything is installed. No message has a secret. */}}
{{- define "scm-agent.check" -}}
{{- $known := list "hub" "accessKey" "accessKeySecret" "allow" "allowAddresses" "proxy" "customCaCert" "clientCertSecret" "tunnel" "servers" "credentials" "dangerPlainHttp" "gitproxy" "image" "networkPolicy" -}}
{{- range $name := keys .Values | sortAlpha -}}
{{- range $right := $known -}}
{{- if and (ne $name $right) (eq (lower $name) (lower $right)) -}}
{{- fail (printf "\n\nThe value %s is written %s.\n" $name $right) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not .Values.hub -}}
{{- fail "\n\nhub is missing: the URL of the hub that the agent dials, as its operator gave it to you. For example:\n  --set hub=https://hub.example.com\n" -}}
{{- end -}}
{{- if not (regexMatch "^https?://[^/\\s]" .Values.hub) -}}
{{- fail (printf "\n\nhub is %s, which is no URL of a hub. It looks like https://hub.example.com\n" .Values.hub) -}}
{{- end -}}
{{- if and (hasPrefix "http://" .Values.hub) (not .Values.dangerPlainHttp) -}}
{{- fail "\n\nhub is http://, so that everybody on the way could read the access key. Use https://, or set dangerPlainHttp=true to test on a network of your own.\n" -}}
{{- end -}}
{{- if not (or .Values.accessKey (.Values.accessKeySecret | default dict).name) -}}
{{- fail "\n\naccessKey is missing: without it the hub does not let the agent in. The hub's operator makes one by `scm-hub keygen --agent NAME`. Set it in one of two ways:\n  --set accessKey=KEY\n  kubectl create secret generic scm-access-key --from-file=accessKey=FILE, and --set accessKeySecret.name=scm-access-key\n" -}}
{{- end -}}
{{- if not .Values.allow -}}
{{- fail "\n\nallow is missing: the agent lets nothing through that is not listed. For example:\n  --set 'allow[0]=https://gitlab.company.com=gitlab'\n  --set 'allow[0]=https://bitbucket.company.com:7990=bitbucket-dc'\n" -}}
{{- end -}}
{{- range .Values.allow -}}
{{- if not (regexMatch "^https?://[^\\s=]+=[a-z-]+(:[a-z,]+)?$" .) -}}
{{- fail (printf "\n\nallow has %s, which is not written ORIGIN=PRESET or ORIGIN=PRESET:GRANTS. For example:\n  https://gitlab.company.com=gitlab\n  https://bitbucket.company.com:7990=bitbucket-dc:read,clone\n" .) -}}
{{- end -}}
{{- end -}}
{{- range $leg, $values := dict "" .Values "tunnel." (.Values.tunnel | default dict) "servers." (.Values.servers | default dict) -}}
{{- with $values.customCaCert -}}
{{- if not (or (contains "-----BEGIN CERTIFICATE-----" .) (contains "-----BEGIN CERTIFICATE-----" (regexReplaceAll "\\s" . "" | b64dec))) -}}
{{- fail (printf "\n\n%scustomCaCert is no certificate: it takes the base64 of a PEM file on one line, as `base64 -w0 ca.pem` prints it.\n" $leg) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
