{{/*
The code servers, as {servers: [...]}: the meta location's, then one per entry of `locations`. Each is a map of
  name, resource         of the location in Dagster, and of its objects in Kubernetes
  module, env            the code that it serves
  account                the service account of its runs: meta, steps or unprivileged
  results                whether it and its runs mount the results volume
  replicas, warm, resources, runResources (with the CPU limit `cpu`), and the keys of `pod`
*/}}
{{- define "bench.servers" -}}
{{- $meta := merge (dict
  "name" "bench_orchestrator"
  "resource" (include "bench.name" (list . "meta"))
  "module" "bench_orchestrator.definitions"
  "account" "meta"
  "results" true
  "replicas" 1
  "env" (merge (deepCopy .Values.meta.env) (dict "BENCH_WEBSERVER_URL" (include "bench.webserverUrl" .) "BENCH_RESULTS_DIR" (include "bench.results" .)))
) (deepCopy .Values.meta) -}}
{{- $servers := list $meta -}}
{{- $taken := dict -}}
{{- range $component := list "meta" "webserver" "daemon" "postgresql" -}}
{{- $_ := set $taken (include "bench.name" (list $ $component)) (printf "the %s" $component) -}}
{{- end -}}
{{- range $entry := .Values.locations -}}
{{- $given := ternary (dict "name" $entry) $entry (kindIs "string" $entry) -}}
{{- $server := mergeOverwrite (deepCopy $.Values.locationDefaults) (deepCopy $given) -}}
{{- range $key := list "resources" "runResources" -}}
{{- if hasKey $given $key -}}{{- $_ := set $server $key (deepCopy (get $given $key)) -}}{{- end -}}
{{- if $given.cpu -}}{{- $_ := mergeOverwrite (get $server $key) (dict "limits" (dict "cpu" $given.cpu)) -}}{{- end -}}
{{- end -}}
{{- $shape := $given.shape | default $given.name -}}
{{- if not (regexMatch "^a[0-9]+k?(p[0-9]+k?)?(_[a-z0-9]+)*$" $shape) -}}
{{- fail (printf "locations: %q is not the name of a shape, such as a250 or a10p10k; to use it as the location's name, set `shape` as well" $shape) -}}
{{- end -}}
{{- if regexMatch "_([0-9]+m|warm)$" $shape -}}
{{- fail (printf "locations: %q is reserved for limited or warm locations; set `shape` as well, and `cpu` or `warm`" $shape) -}}
{{- end -}}
{{- $resource := include "bench.name" (list $ $given.name) -}}
{{- if hasKey $taken $resource -}}
{{- fail (printf "locations: %q and %s would both be called %s" $given.name (get $taken $resource) $resource) -}}
{{- end -}}
{{- $_ := set $taken $resource (printf "the location %q" $given.name) -}}
{{- $podPerStep := has "pods" (splitList "_" $shape) -}}
{{- if and $podPerStep (include "bench.launchesWarm" $) -}}
{{- fail (printf "locations: %q has a pod per step, which only Dagster's own launcher supports: set runLauncher.warm to false" $given.name) -}}
{{- end -}}
{{- $_ := set $server "resource" $resource -}}
{{- $_ := set $server "module" "synthetic_locations.from_environment" -}}
{{- $_ := set $server "account" (ternary "steps" "unprivileged" $podPerStep) -}}
{{- $_ := set $server "results" false -}}
{{- $_ := set $server "env" (merge (dict "BENCH_SHAPE" $shape "BENCH_LOCATION_NAME" $given.name) $server.env) -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- range $server := $servers -}}
{{- $env := list -}}
{{- range $name, $value := $server.env -}}
{{- $env = append $env (dict "name" $name "value" ($value | toString)) -}}
{{- end -}}
{{- $_ := set $server "env" $env -}}
{{- end -}}
{{- dict "servers" $servers | toYaml -}}
{{- end -}}
