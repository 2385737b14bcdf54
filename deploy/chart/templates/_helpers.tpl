{{- define "fnmesh.name" -}}
{{- if contains "fnmesh" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-fnmesh" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "fnmesh.port" -}}
{{ get (dict "registry" 7101 "build" 7102 "deploy" 7103 "invoke" 7104 "gateway" 7105) . }}
{{- end }}

{{- /* (dict "root" $ "part" NAME) */ -}}
{{- define "fnmesh.selector" -}}
app.kubernetes.io/name: fnmesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "fnmesh.labels" -}}
{{ include "fnmesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fnmesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* (dict "name" NAME "value" VALUE): nothing where there is no value */ -}}
{{- define "fnmesh.variable" -}}
{{- if ne (toString .value) "" }}
- name: {{ .name }}
  value: {{ toString .value | quote }}
{{- end }}
{{- end }}

{{- define "fnmesh.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* (dict "root" $ "part" NAME): the security of a pod, where it is put, and what it is pulled with */ -}}
{{- define "fnmesh.pod" -}}
{{- $own := index .root.Values .part -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- if ne .part "migrations" }}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "fnmesh.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- /* (dict "root" $ "part" NAME): what all containers of our image are told */ -}}
{{- define "fnmesh.environment" -}}
{{- $name := include "fnmesh.name" .root -}}
{{- $values := .root.Values -}}
- name: FNMESH_AUTH
  value: keys
- name: FNMESH_MESH_ID
  value: {{ $values.mesh.id | quote }}
- name: FNMESH_LOG_LEVEL
  value: {{ $values.mesh.logLevel }}
- name: FNMESH_TOKEN_FILE
  value: /etc/fnmesh/token
{{- range $service := list "registry" "build" "deploy" "invoke" "gateway" }}
- name: FNMESH_{{ upper $service }}_ADDRESS
  value: dns:///{{ $name }}-{{ $service }}:{{ include "fnmesh.port" $service }}
{{- end }}
- name: FNMESH_TRACE_SHARE
  value: {{ $values.tracing.share | quote }}
{{- include "fnmesh.variable" (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" $values.tracing.otlpEndpoint) }}
{{- if has .part (list "build" "deploy" "invoke" "gateway") }}
{{- include "fnmesh.variable" (dict "name" "FNMESH_BLOB_URL" "value" $values.blobs.url) }}
{{- end }}
{{- if has .part (list "deploy" "gateway") }}
{{- include "fnmesh.variable" (dict "name" "FNMESH_LOKI_URL" "value" $values.lokiUrl) }}
{{- end }}
{{- if has .part (list "registry" "build" "deploy" "invoke" "migrations") }}
- name: FNMESH_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $values.secretName | quote }}
      key: database-url
{{- end }}
{{- end }}

{{- /* What makes Envoy's configuration: the gateway, and who writes the bootstrap, must be told the same */ -}}
{{- define "fnmesh.door" -}}
{{- $name := include "fnmesh.name" . -}}
{{- $hosts := list (printf "%s-envoy" $name) (printf "%s-envoy.%s" $name .Release.Namespace) (printf "%s-envoy.%s.svc" $name .Release.Namespace) -}}
- name: FNMESH_GATEWAY_LISTEN
  value: 0.0.0.0:8080
- name: FNMESH_GATEWAY_STATS_LISTEN
  value: 0.0.0.0:9901
- name: FNMESH_GATEWAY_ADMIN_SOCKET
  value: /run/fnmesh/envoy-admin.sock
- name: FNMESH_GATEWAY_REST_ADDRESS
  value: dns:///{{ $name }}-gateway:7106
- name: FNMESH_GATEWAY_ALLOWED_HOSTS
  value: {{ concat $hosts .Values.envoy.allowedHosts | join "," | quote }}
{{- include "fnmesh.variable" (dict "name" "FNMESH_GATEWAY_ALLOWED_ORIGINS" "value" (join "," .Values.envoy.allowedOrigins)) }}
{{- if .Values.envoy.tlsSecretName }}
- name: FNMESH_GATEWAY_TLS_CERT_FILE
  value: /etc/fnmesh-tls/tls.crt
- name: FNMESH_GATEWAY_TLS_KEY_FILE
  value: /etc/fnmesh-tls/tls.key
{{- end }}
- name: FNMESH_TRACE_RATE
  value: "0"
{{- end }}
