{{/* haproxy.cfg: deploy/haproxy/haproxy.cfg with the cluster's DNS, the tokenizer and TLS. */}}
{{- define "kvasir.haproxy" -}}
{{- $name := include "kvasir.name" . -}}
{{- $domain := printf "%s.svc.%s" .Release.Namespace .Values.clusterDomain -}}
global
  log stdout format raw local0 notice
  # Where a container may open a thousand million files, HAProxy would take memory for all of them.
  fd-hard-limit 20000
  stats socket /tmp/haproxy.sock mode 600 level admin
  # Told to stop, it lets calls run to their end, but not for ever.
  hard-stop-after {{ .Values.proxy.stopSeconds }}s

resolvers cluster
  parse-resolv-conf
  hold valid 1s
  # A pod that is to stop is gone from DNS while it still serves.
  hold nx 1s
  hold obsolete 1s

defaults
  mode http
  log global
  timeout connect 2s
  # Of silence: a call may wait long for its turn, or think long about its prompt.
  timeout client 1h
  timeout server 1h
  # Only what has never left for a replica is tried again, and then on another one.
  retry-on conn-failure
  retries 2
  option redispatch 1
  # grpc.health.v1.Health/Check, as deploy/haproxy/haproxy.cfg explains.
  option tcp-check
  {{- range .Files.Lines "files/haproxy.cfg" }}
  {{- if hasPrefix "  tcp-check" . }}
{{ . }}
  {{- end }}
  {{- end }}
  default-server proto h2 check inter 2s fastinter 500ms fall 2 rise 1 resolvers cluster init-addr none

frontend kvasir
  bind :50050 {{ if .Values.proxy.tls.secret }}ssl crt /etc/haproxy/tls/server.pem alpn h2 ssl-min-ver TLSv1.2
  {{- if .Values.proxy.tls.clientCaSecret }} ca-file /etc/haproxy/clients/ca.crt verify required{{ end }}
  {{- else }}proto h2{{ end }}
  use_backend tokenizers if { path_beg /kvasir.v1.TokenizerService/ }
  default_backend replicas

# Of the kubelet and of Prometheus.
frontend status
  bind :8404
  http-request return status 200 if { path /healthz }
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 404

backend tokenizers
  balance leastconn
  server-template tokenizer {{ add .Values.tokenizer.replicas 1 }} {{ $name }}-tokenizer.{{ $domain }}:50051

backend replicas
  balance hdr(kvasir-session)
  hash-type consistent sdbm avalanche
  # A session's place goes by the replica's number, whatever its address. The weight only makes shares
  # even: it is the number of their places on the ring, in sixteens.
  {{- range $i := until (int (include "kvasir.maxReplicas" .)) }}
  server replica{{ $i }} {{ $name }}-model-{{ $i }}.{{ $name }}-model.{{ $domain }}:50052 id {{ add $i 1 }} weight 100
  {{- end }}
{{ end -}}
