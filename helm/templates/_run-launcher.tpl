{{/* How Dagster launches runs: the settings of all their pods. A location's container context adds to them. */}}

{{- define "bench.runLauncher" -}}
{{- $k8s := include "bench.k8sRunLauncher" . | fromYaml -}}
{{- if .Values.runLauncher.warm -}}
module: dagster_warm.launcher
class: WarmRunLauncher
config:
  # The warm locations.
  locations: {{- $warm := list }}
    {{- range (include "bench.servers" . | fromYaml).servers }}{{ if .forks }}{{ $warm = append $warm .name }}{{ end }}{{ end }}
    {{- toYaml $warm | nindent 4 }}
  # Launches all other runs, and those tagged `bench/cold: true`.
  cold: {{- toYaml $k8s | nindent 4 }}
{{- else -}}
{{ toYaml $k8s }}
{{- end -}}
{{- end -}}

{{- define "bench.k8sRunLauncher" -}}
{{- $settings := include "bench.podSettings" (list . .Values.runs) | fromYaml -}}
module: dagster_k8s
class: K8sRunLauncher
config:
  load_incluster_config: true
  job_namespace: {{ .Release.Namespace }}
  service_account_name: {{ include "bench.name" (list . "unprivileged") }}
  instance_config_map: {{ include "bench.name" (list . "instance") }}
  postgres_password_secret: {{ include "bench.passwordSecret" . }}
  dagster_home: {{ include "bench.home" . }}
  image_pull_policy: {{ .Values.image.pullPolicy }}
  labels: {{- mergeOverwrite (deepCopy $settings.labels) (include "bench.releaseLabels" . | fromYaml) | toYaml | nindent 4 }}
  run_k8s_config:
    container_config:
      securityContext: {{ include "bench.containerSecurity" . }}
      volumeMounts: {{- include "bench.mounts" dict | nindent 8 }}
    {{- with $settings.annotations }}
    pod_template_spec_metadata:
      annotations: {{- toYaml . | nindent 8 }}
    {{- end }}
    pod_spec_config:
      {{- include "bench.podSpec" (list . $settings) | nindent 6 }}
      automountServiceAccountToken: false
      volumes: {{- include "bench.volumes" dict | nindent 8 }}
    job_spec_config:
      ttlSecondsAfterFinished: {{ int .Values.runs.ttlSecondsAfterFinished }}
{{- end -}}

{{/* (list $ server): additional settings for a location's runs; Dagster merges them into the launcher's. */}}
{{- define "bench.containerContext" -}}
{{- $root := index . 0 -}}
{{- $server := index . 1 -}}
{{- $settings := include "bench.podSettings" (list $root (mergeOverwrite (deepCopy $server) $root.Values.runs)) | fromYaml -}}
{{- $environment := include "bench.environment" (list $settings dict) | fromYaml -}}
{{- $volumes := $settings.volumes -}}
{{- $mounts := $settings.volumeMounts -}}
{{- if $server.results -}}
{{- $volumes = concat $volumes (include "bench.resultsVolume" $root | fromYamlArray) -}}
{{- $mounts = concat $mounts (include "bench.resultsMount" $root | fromYamlArray) -}}
{{- end -}}
k8s:
  service_account_name: {{ include "bench.name" (list $root $server.account) }}
  image_pull_policy: {{ include "bench.pullPolicy" (list $root $server.image) }}
  env: {{- $environment.env | default list | toYaml | nindent 4 }}
  {{- with $server.runResources }}
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes: {{- toYaml $volumes | nindent 4 }}
  volume_mounts: {{- toYaml $mounts | nindent 4 }}
  {{- if ne $server.account "unprivileged" }}
  labels: {{- include "bench.apiLabel" $root | nindent 4 }}
  {{- end }}
  run_k8s_config:
    {{- with $environment.envFrom }}
    container_config:
      envFrom: {{- toYaml . | nindent 8 }}
    {{- end }}
    pod_spec_config:
      securityContext: {{- include "bench.podSecurity" $settings | nindent 8 }}
      {{- if ne $server.account "unprivileged" }}
      automountServiceAccountToken: true
      {{- end }}
      {{- if and $server.results (ne $root.Values.results.accessMode "ReadWriteMany") }}
      # The volume is attached to a single node: the code server's.
      affinity:
        podAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - topologyKey: kubernetes.io/hostname
              labelSelector:
                matchLabels: {{- include "bench.serverSelector" (list $root $server) | nindent 18 }}
      {{- end }}
{{- end -}}

{{- define "bench.resultsVolume" -}}
- {name: results, persistentVolumeClaim: {claimName: {{ include "bench.resultsClaim" . }}}}
{{- end -}}

{{- define "bench.resultsMount" -}}
- {name: results, mountPath: {{ include "bench.results" . }}}
{{- end -}}
