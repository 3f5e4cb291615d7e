{{/* Name of the chart, as the value of a label. */}}
{{- define "eventbus.name" -}}
{{- $name := regexReplaceAll "[^A-Za-z0-9._-]+" (default "" .Values.nameOverride) "-" | trimAll "._-" -}}
{{- default .Chart.Name $name | trunc 63 | trimAll "._-" -}}
{{- end -}}

{{/* Prefix of the objects' names, short enough for the longest suffix, "-operator". */}}
{{- define "eventbus.fullname" -}}
{{- $name := include "eventbus.name" . -}}
{{- $fullname := .Values.fullnameOverride -}}
{{- if not $fullname -}}
{{- $fullname = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- /* Services need a DNS label that begins with a letter; a release may be named 1st or my.release. */ -}}
{{- $fullname = regexReplaceAll "[^a-z0-9-]+" (lower $fullname) "-" | trimPrefix "-" -}}
{{- if not (regexMatch "^[a-z]" $fullname) -}}
{{- $fullname = printf "eventbus-%s" $fullname -}}
{{- end -}}
{{- $fullname | trunc 54 | trimAll "-" -}}
{{- end -}}

{{/* Labels that never change. Takes (list . COMPONENT). */}}
{{- define "eventbus.selectorLabels" -}}
{{- $root := first . -}}
{{- /* A release may be named 123 or true, which YAML would not read as text. */}}
app.kubernetes.io/name: {{ include "eventbus.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Labels of an object. Takes (list . COMPONENT). */}}
{{- define "eventbus.labels" -}}
{{- $root := first . -}}
{{ include "eventbus.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: eventbus
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* An image's full name. Takes (list . IMAGE). */}}
{{- define "eventbus.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "eventbus.serviceAccountName" -}}
{{- $account := .Values.operator.serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-operator" (include "eventbus.fullname" .)) $account.name -}}
{{- else -}}
{{- required "operator.serviceAccount.create is false: set operator.serviceAccount.name to an existing service account" $account.name -}}
{{- end -}}
{{- end -}}

{{/* Security context of a pod as Pod Security "restricted" requires. Takes the user's ID. */}}
{{- define "eventbus.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "eventbus.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Scheduling and image pull secrets of a pod. Takes (list . VALUES-OF-THE-WORKLOAD). */}}
{{- define "eventbus.scheduling" -}}
{{- $root := first . -}}
{{- $values := last . -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}
