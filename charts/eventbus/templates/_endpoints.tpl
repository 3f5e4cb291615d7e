{{/* The Redis endpoints, the chart's own first, as a YAML object with the key items; ends with an error if they make no sense. */}}
{{- define "eventbus.endpoints" -}}
{{- $items := list -}}
{{- if .Values.redis.enabled -}}
{{- $url := printf "redis://%s-redis.%s.svc:6379" (include "eventbus.fullname" .) .Release.Namespace -}}
{{- $items = append $items (dict "name" "default" "url" $url) -}}
{{- end -}}
{{- range .Values.endpoints -}}
{{- if contains "@" .url -}}
{{- fail (printf "endpoint %s: the url must hold no credentials; put them into a Secret and name it in secretName" .name) -}}
{{- end -}}
{{- if and .secretName (not (include "eventbus.endpointFiles" .)) -}}
{{- fail (printf "endpoint %s: say what is in its Secret by usernameKey, passwordKey, caKey, certKey or keyKey" .name) -}}
{{- end -}}
{{- if and (not .secretName) (include "eventbus.endpointFiles" .) -}}
{{- fail (printf "endpoint %s: keys are given and no secretName" .name) -}}
{{- end -}}
{{- $items = append $items . -}}
{{- end -}}
{{- $names := list -}}
{{- range $items -}}
{{- if has .name $names -}}
{{- fail (printf "endpoint %s is there twice; with redis.enabled the chart's own is named default" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if not $items -}}
{{- fail "there is no Redis: list one in endpoints, or set redis.enabled for one to try out" -}}
{{- end -}}
{{- dict "items" $items | toYaml -}}
{{- end -}}

{{/* The files that an endpoint's Secret is mounted as: a list of volume items, empty without any. Takes the endpoint. */}}
{{- define "eventbus.endpointFiles" -}}
{{- $files := list -}}
{{- $endpoint := . -}}
{{- range $key, $path := dict "usernameKey" "username" "passwordKey" "password" "caKey" "ca.crt" "certKey" "tls.crt" "keyKey" "tls.key" -}}
{{- with get $endpoint $key -}}
{{- $files = append $files (dict "key" . "path" $path) -}}
{{- end -}}
{{- end -}}
{{- if $files -}}{{- toYaml $files -}}{{- end -}}
{{- end -}}

{{/* The directory of an endpoint's files. Takes the endpoint. */}}
{{- define "eventbus.credentialsDir" -}}
/etc/eventbus/redis/{{ .name }}
{{- end -}}

{{/* The volume with an endpoint's files, readable for its group. Takes the endpoint. */}}
{{- define "eventbus.credentialsVolume" -}}
- name: redis-{{ .name }}
  secret:
    secretName: {{ .secretName | quote }}
    defaultMode: 0440
    items: {{- include "eventbus.endpointFiles" . | nindent 4 }}
{{- end -}}

{{- define "eventbus.credentialsMount" -}}
- name: redis-{{ .name }}
  mountPath: {{ include "eventbus.credentialsDir" . }}
  readOnly: true
{{- end -}}
