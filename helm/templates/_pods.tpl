{{/* What all pods have in common, whether started by the chart or, for a run or a step, by Dagster. */}}

{{/* (list $ part): the settings of `pod`, overridden by those of a part of the values. */}}
{{- define "bench.podSettings" -}}
{{- $common := (index . 0).Values.pod -}}
{{- $settings := mergeOverwrite (deepCopy $common) (deepCopy (pick (index . 1) "runAsUser" "fsGroup" "env" "envFrom" "volumes" "volumeMounts" "labels" "annotations" "nodeSelector" "tolerations" "affinity" "priorityClassName")) -}}
{{- /* Where the platform sets the ids, it sets those of all pods. */ -}}
{{- range list "runAsUser" "fsGroup" }}{{ if not (get $common .) }}{{ $settings = omit $settings . }}{{ end }}{{ end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* (list $ settings): the fields of a pod's specification that do not depend on its containers. */}}
{{- define "bench.podSpec" -}}
{{- $settings := index . 1 -}}
# Service variables such as DAGSTER_WEBSERVER_PORT would be taken as options of Dagster's commands.
enableServiceLinks: false
securityContext: {{- include "bench.podSecurity" $settings | nindent 2 }}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- end -}}

{{/* The security context of a pod with these settings. */}}
{{- define "bench.podSecurity" -}}
runAsNonRoot: true
{{- with .runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* (list $ account): the service account, and whether the pod gets its token: those without rights need none. */}}
{{- define "bench.account" -}}
serviceAccountName: {{ include "bench.name" . }}
automountServiceAccountToken: {{ ne (index . 1) "unprivileged" }}
{{- end -}}

{{/* (list $ image resources): the fields that all containers have. */}}
{{- define "bench.container" -}}
image: {{ include "bench.image" . }}
imagePullPolicy: {{ include "bench.pullPolicy" . }}
{{- with index . 2 }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "bench.containerSecurity" . }}
{{- end -}}

{{- define "bench.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{/*
(list settings variables): a container's environment: these variables, and those of the settings that have other names.
A variable is a string, or a map for `valueFrom`.
*/}}
{{- define "bench.environment" -}}
env:
  {{- range $name, $value := merge (deepCopy (index . 1)) (index . 0).env }}
  - name: {{ $name }}
    {{- if kindIs "map" $value }}
    valueFrom: {{- toYaml $value | nindent 6 }}
    {{- else }}
    value: {{ quote $value }}
    {{- end }}
  {{- end }}
{{- with (index . 0).envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The variable with the database's password, for the processes that open the instance. */}}
{{- define "bench.passwordVariable" -}}
DAGSTER_PG_PASSWORD: {{ include "bench.passwordReference" . }}
{{- end -}}

{{- define "bench.passwordReference" -}}
{secretKeyRef: {name: {{ include "bench.passwordSecret" . }}, key: postgresql-password}}
{{- end -}}

{{/* (settings): the two folders that Dagster writes to, and the volumes of the settings. The image is read-only. */}}
{{- define "bench.volumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- with .volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bench.mounts" -}}
- {name: home, mountPath: {{ include "bench.home" . }}}
- {name: tmp, mountPath: /tmp}
{{- with .volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The instance's dagster.yaml, for processes that do not receive it with a run or request. */}}
{{- define "bench.instanceVolume" -}}
- {name: instance, configMap: {name: {{ include "bench.name" (list . "instance") }}}}
{{- end -}}

{{/* Restarts the pods that read it when it changes. */}}
{{- define "bench.instanceChecksum" -}}
checksum/instance: {{ include (print $.Template.BasePath "/instance.yaml") . | sha256sum }}
{{- end -}}

{{- define "bench.instanceMount" -}}
- {name: instance, mountPath: {{ include "bench.home" . }}/dagster.yaml, subPath: dagster.yaml, readOnly: true}
{{- end -}}

{{/* (list $ settings labels annotations): the metadata of a pod that the chart starts. */}}
{{- define "bench.podMetadata" -}}
labels: {{- mergeOverwrite (deepCopy (index . 1).labels) (fromYaml (index . 2)) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy (index . 1).annotations) (index . 3) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How new pods replace old ones: Recreate, or one more pod until it is ready. */}}
{{- define "bench.strategy" -}}
type: {{ . }}
{{- if eq . "RollingUpdate" }}
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- end }}
{{- end -}}

{{/* The interval of startup probes in seconds, and their maximum number. */}}
{{- define "bench.startupTiming" -}}
periodSeconds: 5
failureThreshold: {{ div (int .Values.startupSeconds) 5 }}
{{- end -}}
