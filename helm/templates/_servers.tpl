{{/*
The code servers, as {servers: [...]}: the meta location's, then one per entry of `locations`. Each is a map of
  name, resource         of the location in Dagster, and of its objects in Kubernetes
  code, image            what it serves: options of `dagster api grpc`, and an image like `image` in the values
  synthetic              whether that is a shape
  account                the service account of its runs: meta, steps or unprivileged
  results                whether it and its runs mount the results volume
  database               whether it opens the instance: to evaluate some sensors, or because it forks runs
  forks                  whether runs are launched in it
  replicas, warm, resources, runResources (with the CPU limit `cpu`), strategy, terminationGracePeriodSeconds, and the
  keys of `pod`
*/}}
{{- define "bench.servers" -}}
{{- $meta := merge (dict
  "name" "bench_orchestrator"
  "resource" (include "bench.name" (list . "meta"))
  "code" (list "--module-name=bench_orchestrator.definitions")
  "image" .Values.image
  "synthetic" false
  "account" "meta"
  "results" true
  "database" true
  "forks" (and .Values.meta.warm .Values.runLauncher.warm)
  "replicas" 1
  "env" (merge (deepCopy (.Values.meta.env | default dict)) (dict "BENCH_WEBSERVER_URL" (include "bench.webserverUrl" .) "BENCH_RESULTS_DIR" (include "bench.results" .)))
) (deepCopy .Values.meta) -}}
{{- if and (eq .Values.meta.strategy "RollingUpdate") (ne .Values.results.accessMode "ReadWriteMany") -}}
{{- fail "meta.strategy: RollingUpdate needs results.accessMode ReadWriteMany: two pods would use the volume" -}}
{{- end -}}
{{- $servers := list $meta -}}
{{- $taken := dict -}}
{{- range $component := list "meta" "webserver" "daemon" "exporter" "postgresql" -}}
{{- $_ := set $taken (include "bench.name" (list $ $component)) (printf "the %s" $component) -}}
{{- end -}}
{{- range $entry := .Values.locations -}}
{{- $given := ternary (dict "name" $entry) $entry (kindIs "string" $entry) -}}
{{- $server := mergeOverwrite (dict "image" (deepCopy $.Values.image)) (deepCopy $.Values.locationDefaults) (deepCopy (omit $given "image")) -}}
{{- range $key := list "resources" "runResources" -}}
{{- if hasKey $given $key -}}{{- $_ := set $server $key (deepCopy (get $given $key)) -}}{{- end -}}
{{- if $given.cpu -}}{{- $_ := mergeOverwrite (get $server $key) (dict "limits" (dict "cpu" $given.cpu)) -}}{{- end -}}
{{- end -}}
{{- $resource := include "bench.name" (list $ $given.name) -}}
{{- if hasKey $taken $resource -}}
{{- fail (printf "locations: %q and %s would both be called %s" $given.name (get $taken $resource) $resource) -}}
{{- end -}}
{{- $_ := set $taken $resource (printf "the location %q" $given.name) -}}
{{- $_ := set $server "resource" $resource -}}
{{- $_ := set $server "results" false -}}
{{- $_ := set $server "forks" (and $server.warm $.Values.runLauncher.warm) -}}
{{- if $given.code -}}
{{- include "bench.ownLocation" (list $server $given) -}}
{{- else -}}
{{- include "bench.syntheticLocation" (list $server $given) -}}
{{- end -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- dict "servers" $servers | toYaml -}}
{{- end -}}

{{/* (list server given): completes the server of a location with code of the user's own, as it is given. */}}
{{- define "bench.ownLocation" -}}
{{- $server := index . 0 -}}
{{- $given := index . 1 -}}
{{- if $given.shape -}}
{{- fail (printf "locations: %q has both `code` and `shape`" $given.name) -}}
{{- end -}}
{{- with $given.image -}}
{{- if not (and .repository (or .tag .digest)) -}}
{{- fail (printf "locations: the image of %q needs a repository, and a tag or a digest" $given.name) -}}
{{- end -}}
{{- $_ := set $server "image" . -}}
{{- end -}}
{{- $_ := set $server "synthetic" false -}}
{{- $_ := set $server "account" (ternary "steps" "unprivileged" (default false $given.podPerStep)) -}}
{{- $_ := set $server "database" (or $server.forks (ne (toString $given.database) "false")) -}}
{{- end -}}

{{/* (list server given): completes the server of a synthetic location, as it is given. */}}
{{- define "bench.syntheticLocation" -}}
{{- $server := index . 0 -}}
{{- $given := index . 1 -}}
{{- range list "image" "database" "podPerStep" -}}
{{- if hasKey $given . -}}{{- fail (printf "locations: %q has `%s`, which is for locations with `code`" $given.name .) -}}{{- end -}}
{{- end -}}
{{- $shape := $given.shape | default $given.name -}}
{{- if not (regexMatch "^a[0-9]+k?(p[0-9]+k?)?(_[a-z0-9]+)*$" $shape) -}}
{{- fail (printf "locations: %q is not the name of a shape, such as a250 or a10p10k; to use it as the location's name, set `shape` or `code` as well" $shape) -}}
{{- end -}}
{{- if regexMatch "_([0-9]+m|warm)$" $shape -}}
{{- fail (printf "locations: %q is reserved for limited or warm locations; set `shape` as well, and `cpu` or `warm`" $shape) -}}
{{- end -}}
{{- $options := splitList "_" $shape -}}
{{- $_ := set $server "synthetic" true -}}
{{- $_ := set $server "code" (list "--module-name=synthetic_locations.from_environment") -}}
{{- $_ := set $server "account" (ternary "steps" "unprivileged" (has "pods" $options)) -}}
{{- /* Requested launches and dynamic partitions are read from the instance. */ -}}
{{- $_ := set $server "database" (or $server.forks (has "triggers" $options) (has "singleflight" $options) (has "dynamic" $options)) -}}
{{- $_ := set $server "env" (merge (dict "BENCH_SHAPE" $shape "BENCH_LOCATION_NAME" $given.name) ($server.env | default dict)) -}}
{{- end -}}
