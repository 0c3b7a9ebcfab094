{{- /* Where each runtime has its socket: the folder, since a restarted runtime creates a new socket. */}}
{{- define "crashtrace.socketFolder" -}}
{{- get (dict "containerd" "/run/containerd" "crio" "/run/crio" "k3s" "/run/k3s/containerd" "k0s" "/run/k0s") .Values.runtimeSocket -}}
{{- end }}

{{- /* A digest names one image for good; a tag can be moved. */}}
{{- define "crashtrace.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Sources of the names of pods, for --pods: auto uses the runtime, and the API server if its address is known. */}}
{{- define "crashtrace.pods" -}}
{{- if ne .Values.runtimeSocket "none" }}auto{{ else if .Values.api }}kube{{ else }}none{{ end -}}
{{- end }}
