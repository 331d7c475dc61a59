{{/* What the agent and the pod of `helm test` have in common. */}}
{{- define "scm-agent.pod" -}}
{{- $gitproxy := .Values.gitproxy | default dict -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $gitproxy.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with (.Values.image | default dict).pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $gitproxy.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $gitproxy.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The image's user is a number that is not 0. None is set here, so that a platform may give one of its own.
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
volumes:
  - name: config
    projected:
      # For whatever user the platform gives. There is no other in the container.
      defaultMode: 0444
      sources:
        - secret:
            name: gitproxy
            items:
              - key: agent.toml
                path: agent.toml
        - secret:
            {{- include "scm-agent.accessKey" . | nindent 12 }}
        {{- range $leg := list "" "tunnel" "servers" }}
        {{- $values := empty $leg | ternary $.Values (get $.Values $leg | default dict) }}
        {{- $found := list (dict "secret" ($values.proxy | default dict).existingSecret "keys" (list "httpProxy" "httpsProxy")) }}
        {{- range append $found (dict "secret" $values.clientCertSecret "keys" (list "tls.crt" "tls.key")) }}
        {{- if .secret }}
        - secret:
            name: {{ .secret }}
            items:
              {{- range $key := .keys }}
              - key: {{ $key }}
                path: {{ with $leg }}{{ . }}-{{ end }}{{ $key }}
              {{- end }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- range $at, $credential := .Values.credentials }}
        - secret:
            name: {{ $credential.secret.name }}
            items:
              - key: {{ $credential.secret.key | default "token" }}
                path: credential-{{ $at }}
        {{- end }}
{{- end }}

{{- define "scm-agent.container" -}}
image: {{ include "scm-agent.image" . | quote }}
imagePullPolicy: {{ (.Values.image | default dict).pullPolicy | default "IfNotPresent" }}
command: ["/usr/bin/scm-agent"]
volumeMounts:
  - name: config
    mountPath: /etc/scm-agent
    readOnly: true
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- dig "resources" (dict "requests" (dict "cpu" "50m" "memory" "64Mi") "limits" (dict "memory" "256Mi")) (.Values.gitproxy | default dict) | toYaml | nindent 2 }}
{{- end }}
