{{/* The release's name in every object: kvasir, or RELEASE-kvasir. */}}
{{- define "kvasir.name" -}}
{{- if contains "kvasir" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-kvasir" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Labels that select a component's pods; of (list . "model"). */}}
{{- define "kvasir.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: kvasir
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "kvasir.labels" -}}
{{- $root := index . 0 -}}
{{ include "kvasir.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{- define "kvasir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Of (list . user). */}}
{{- define "kvasir.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 0 }}
fsGroup: {{ index . 0 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "kvasir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What pods of all components have; of (list . component its-values). */}}
{{- define "kvasir.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if $values.affinity }}
  {{- toYaml $values.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "kvasir.selector" . | nindent 14 }}
  {{- end }}
{{- end -}}

{{/* --model: what was pulled, by its name; else the embedded one. */}}
{{- define "kvasir.modelFlag" -}}
{{- with .Values.weights -}}
{{- if .model -}}
- --model={{ .model }}{{ if ne .revision "main" }}@{{ .revision }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kvasir.observingFlags" -}}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- with .Values.otlpEndpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- end -}}

{{/* Who may call the pods, past the proxy too. */}}
{{- define "kvasir.accessFlags" -}}
{{- with .Values.auth -}}
{{- if .apiKeysSecret -}}
- --api-keys=/etc/kvasir/keys/api-keys
{{ end -}}
{{- with .jwt -}}
{{- if .keysSecret -}}
- --jwt-keys=/etc/kvasir/jwt/jwks.json
- {{ printf "--jwt-audience=%s" .audience | quote }}
- {{ printf "--jwt-tenant-claim=%s" .tenantClaim | quote }}
{{ if .issuer -}}
- {{ printf "--jwt-issuer=%s" .issuer | quote }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- if not (or .apiKeysSecret .jwt.keysSecret) -}}
- --insecure
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kvasir.keysVolume" -}}
{{- with .Values.auth.apiKeysSecret -}}
- {name: keys, secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: api-keys, path: api-keys}]}}
{{ end -}}
{{- with .Values.auth.jwt.keysSecret -}}
- {name: jwt, secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: jwks.json, path: jwks.json}]}}
{{- end }}
{{- end -}}

{{- define "kvasir.keysMount" -}}
{{- if .Values.auth.apiKeysSecret -}}
- {name: keys, mountPath: /etc/kvasir/keys, readOnly: true}
{{ end -}}
{{- if .Values.auth.jwt.keysSecret -}}
- {name: jwt, mountPath: /etc/kvasir/jwt, readOnly: true}
{{- end }}
{{- end -}}

{{/* Threads for the cores of the limit; without one, of the node. */}}
{{- define "kvasir.threads" -}}
- name: KVASIR_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1"}}
{{- end -}}

{{/* Probes of the metrics port; of the seconds that a start may take. */}}
{{- define "kvasir.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  failureThreshold: {{ div (add . 4) 5 }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* `kvasir pull`, where there is something to pull. Pods that pull at once wait for each other. */}}
{{- define "kvasir.pull" -}}
{{- with .Values.weights -}}
{{- if .model -}}
initContainers:
  - name: pull
    image: {{ include "kvasir.image" $ }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    command: [kvasir, pull]
    args:
      - {{ .model }}
      - --revision={{ .revision }}
      {{- with .redirectHosts }}
      - --redirect-hosts={{ . }}
      {{- end }}
    env:
      - {name: HF_HUB_CACHE, value: /var/lib/kvasir/models}
      {{- with .endpoint }}
      - {name: HF_ENDPOINT, value: {{ . | quote }}}
      {{- end }}
      {{- with .tokenSecret }}
      - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: {{ . }}, key: token}}}
      {{- end }}
    resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {memory: 1Gi}}
    securityContext:
      {{- include "kvasir.containerSecurity" $ | nindent 6 }}
    volumeMounts:
      - {name: models, mountPath: /var/lib/kvasir/models}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kvasir.modelsVolume" -}}
{{- if .Values.weights.model -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.weights.existingClaim | default (printf "%s-models" (include "kvasir.name" .)) }}
{{- end }}
{{- end -}}

{{- define "kvasir.modelsMount" -}}
{{- if .Values.weights.model -}}
- {name: models, mountPath: /var/lib/kvasir/models, readOnly: true}
{{- end }}
{{- end -}}

{{/* Whether the chart brings a Redis. */}}
{{- define "kvasir.ownRedis" -}}
{{- if and (eq .Values.sessions.store "redis") (not .Values.sessions.redis.urlSecret) }}true{{ end -}}
{{- end -}}

{{- define "kvasir.redisPassword" -}}
{{ .Values.sessions.redis.passwordSecret | default (printf "%s-redis" (include "kvasir.name" .)) }}
{{- end -}}

{{/* The most model replicas that there can be. */}}
{{- define "kvasir.maxReplicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.model.replicas }}{{ end -}}
{{- end -}}
