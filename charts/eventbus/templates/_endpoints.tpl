{{/* Redis endpoints, the chart's own first, as a YAML object with the key items; fails if one is invalid. */}}
{{- define "eventbus.endpoints" -}}
{{- $items := list -}}
{{- if .Values.redis.enabled -}}
{{- $url := printf "redis://%s-redis.%s.svc:6379" (include "eventbus.fullname" .) .Release.Namespace -}}
{{- $items = append $items (dict "name" "default" "url" $url) -}}
{{- end -}}
{{- range .Values.endpoints -}}
{{- if contains "@" .url -}}
{{- fail (printf "endpoint %s: the url must not contain credentials; put them into a Secret and name it in secretName" .name) -}}
{{- end -}}
{{- if and .secretName (not (include "eventbus.endpointFiles" .)) -}}
{{- fail (printf "endpoint %s: secretName requires the keys of the Secret in usernameKey, passwordKey, caKey, certKey or keyKey" .name) -}}
{{- end -}}
{{- if and (not .secretName) (include "eventbus.endpointFiles" .) -}}
{{- fail (printf "endpoint %s: usernameKey, passwordKey, caKey, certKey and keyKey require secretName" .name) -}}
{{- end -}}
{{- $items = append $items . -}}
{{- end -}}
{{- $names := list -}}
{{- range $items -}}
{{- if has .name $names -}}
{{- fail (printf "endpoint %s is defined twice; with redis.enabled the chart's own endpoint is named default" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if not $items -}}
{{- fail "no Redis endpoint is defined: list one in endpoints, or set redis.enabled for trying out" -}}
{{- end -}}
{{- dict "items" $items | toYaml -}}
{{- end -}}

{{/* Files as which the Secret of an endpoint is mounted: a list of volume items, empty without a Secret. Takes the endpoint. */}}
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

{{/* Directory of an endpoint's files. Takes the endpoint. */}}
{{- define "eventbus.credentialsDir" -}}
/etc/eventbus/redis/{{ .name }}
{{- end -}}

{{/* Name of the volume with an endpoint's files, at most 63 characters. Takes the endpoint. */}}
{{- define "eventbus.credentialsName" -}}
{{- $name := printf "redis-%s" .name -}}
{{- if gt (len $name) 63 -}}
{{- $name = printf "%s-%s" ($name | trunc 52 | trimSuffix "-") (sha256sum .name | trunc 10) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Volume with an endpoint's files, readable by the group. Takes the endpoint. */}}
{{- define "eventbus.credentialsVolume" -}}
- name: {{ include "eventbus.credentialsName" . }}
  secret:
    secretName: {{ .secretName | quote }}
    defaultMode: 0440
    items: {{- include "eventbus.endpointFiles" . | nindent 4 }}
{{- end -}}

{{- define "eventbus.credentialsMount" -}}
- name: {{ include "eventbus.credentialsName" . }}
  mountPath: {{ include "eventbus.credentialsDir" . }}
  readOnly: true
{{- end -}}
