{{/* What all pods have in common, whether started by the chart or, for a run or a step, by Dagster. */}}

{{/* (list $ part): the settings of `pod`, overridden by those of a part of the values. */}}
{{- define "bench.podSettings" -}}
{{- $settings := deepCopy (index . 0).Values.pod -}}
{{- mergeOverwrite $settings (deepCopy (pick (index . 1) "labels" "annotations" "nodeSelector" "tolerations" "affinity" "priorityClassName")) | toYaml -}}
{{- end -}}

{{/* (list $ settings uid): the fields of a pod's specification that do not depend on its containers. */}}
{{- define "bench.podSpec" -}}
{{- $settings := index . 1 -}}
# Service variables such as DAGSTER_WEBSERVER_PORT would be taken as options of Dagster's commands.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 2 | int }}
  runAsGroup: {{ index . 2 | int }}
  fsGroup: {{ index . 2 | int }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
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

{{- define "bench.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{/* The two folders that Dagster writes to; everything else in the image is read-only. */}}
{{- define "bench.scratchVolumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- end -}}

{{- define "bench.scratchMounts" -}}
- {name: home, mountPath: {{ include "bench.home" . }}}
- {name: tmp, mountPath: /tmp}
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

{{- define "bench.passwordVariable" -}}
- name: DAGSTER_PG_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "bench.passwordSecret" . }}, key: postgresql-password}}
{{- end -}}

{{/* (list $ settings selector annotations): the metadata of a pod that the chart starts. */}}
{{- define "bench.podMetadata" -}}
labels: {{- mergeOverwrite (deepCopy (index . 1).labels) (fromYaml (index . 2)) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy (index . 1).annotations) (index . 3) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The interval of startup probes in seconds, and their maximum number. */}}
{{- define "bench.startupTiming" -}}
periodSeconds: 5
failureThreshold: {{ div (int .Values.startupSeconds) 5 }}
{{- end -}}
