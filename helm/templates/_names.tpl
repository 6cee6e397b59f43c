{{/* Names, labels, and paths in containers. */}}

{{/* (list $ "webserver"): <release>-webserver. At most 52 characters, the shortest limit: a StatefulSet's. */}}
{{- define "bench.name" -}}
{{- $name := printf "%s-%s" (index . 0).Release.Name (index . 1) | replace "_" "-" -}}
{{- if gt (len $name) 52 -}}
{{- printf "%s-%s" (trunc 43 $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* Labels of every pod of the release, including those that Dagster launches. */}}
{{- define "bench.releaseLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* (list $ "webserver"): the selector of a component's pods. It must never change. */}}
{{- define "bench.selector" -}}
{{ include "bench.releaseLabels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* (list $ server): the same for one code server. Dagster also labels the pods of its runs with the location. */}}
{{- define "bench.serverSelector" -}}
{{ include "bench.selector" (list (index . 0) "code-server") }}
dagster/code-location: {{ (index . 1).name | quote }}
{{- end -}}

{{- define "bench.labels" -}}
{{ include "bench.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (list $ image): the reference of `image` in the values, or of one like it. */}}
{{- define "bench.image" -}}
{{- $image := index . 1 -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}{{ end }}
{{- end -}}

{{- define "bench.pullPolicy" -}}
{{ (index . 1).pullPolicy | default (index . 0).Values.image.pullPolicy }}
{{- end -}}

{{/* A label of the pods that may use the Kubernetes API. */}}
{{- define "bench.apiLabel" -}}
dagster-bench/kubernetes-api: "true"
{{- end -}}

{{- define "bench.passwordSecret" -}}
{{- if .Values.postgresql.existingSecret -}}
{{ .Values.postgresql.existingSecret }}
{{- else if .Values.postgresql.enabled -}}
{{ include "bench.name" (list . "postgresql") }}
{{- else -}}
{{ fail "postgresql.existingSecret is required if postgresql.enabled is false: the name of a secret with the key postgresql-password" }}
{{- end -}}
{{- end -}}

{{- define "bench.resultsClaim" -}}
{{ .Values.results.existingClaim | default (include "bench.name" (list . "results")) }}
{{- end -}}

{{- define "bench.webserverUrl" -}}
http://{{ include "bench.name" (list . "webserver") }}{{ with int .Values.webserver.service.port }}{{ if ne . 80 }}:{{ . }}{{ end }}{{ end }}{{ .Values.webserver.pathPrefix }}
{{- end -}}

{{- define "bench.home" -}}/opt/dagster/home{{- end -}}
{{- define "bench.results" -}}/opt/dagster/results{{- end -}}

{{- define "bench.postgresqlHost" -}}
{{- if .Values.postgresql.enabled -}}
{{ include "bench.name" (list . "postgresql") }}
{{- else -}}
{{ required "postgresql.host is required if postgresql.enabled is false" .Values.postgresql.host }}
{{- end -}}
{{- end -}}
