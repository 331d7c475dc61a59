package deploy

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

const hubValues = `
tls: { secretName: hub-tls }
agents: [{ name: acme, keys: [` + hash + `] }]
`

func TestHub(t *testing.T) {
	made := render(t, "scm-hub", hubValues)
	equal(t, "hub.toml", string(made.secret.Data["hub.toml"]), `listen = "0.0.0.0:8443"
tls = { certificate = "tls/tls.crt", key = "tls/tls.key" }

[[agent]]
name = "acme"
keys = ["`+hash+`"]
`)
	pod := made.deployment.Spec.Template.Spec
	hardened(t, pod)
	equal(t, "grace", *pod.TerminationGracePeriodSeconds, 45)
	equal(t, "files", files(pod), map[string]string{
		"hub.toml":    "scm-hub/hub.toml",
		"tls/tls.crt": "hub-tls/tls.crt",
		"tls/tls.key": "hub-tls/tls.key",
	})
	container := pod.Containers[0]
	equal(t, "command", container.Command, []string{"/usr/bin/scm-hub"})
	equal(t, "arguments", container.Args, []string{"serve", "--config", "/etc/scm-hub/hub.toml"})
	equal(t, "readiness", *container.ReadinessProbe.HTTPGet, core.HTTPGetAction{
		Path: "/readyz", Port: intstr.FromString("hub"), Scheme: core.URISchemeHTTPS,
	})
	equal(t, "ports", made.service.Spec.Ports, []core.ServicePort{{Name: "hub", Port: 443, TargetPort: intstr.FromString("hub")}})
	equal(t, "selected", made.service.Spec.Selector, made.deployment.Spec.Template.Labels)
	if made.budget != nil {
		t.Error("a budget that nobody asked for")
	}
	contains(t, made.notes, "https:// as the Service scm-hub, port 443")
}

func TestHubFull(t *testing.T) {
	made := render(t, "scm-hub", `
tls: { secretName: hub-tls, clientCaKey: ca.crt }
agents:
  - { name: acme, keys: [`+hash+`, `+hash+`] }
  - { name: beta, keys: [`+hash+`] }
services: [{ name: repairs, agents: [acme, beta], keys: [`+hash+`] }]
minimumAgent: 0.1.0
limits: { patience_s: 10, max_body_bytes: 5368709120, grace_s: 90 }
metricsListen: 0.0.0.0:9090
log: debug
service: { type: LoadBalancer, port: 8443, annotations: { a: b } }
podDisruptionBudget: { enabled: true }
`)
	equal(t, "hub.toml", string(made.secret.Data["hub.toml"]), `listen = "0.0.0.0:8443"
tls = { certificate = "tls/tls.crt", key = "tls/tls.key", client_ca = "tls/clients.crt" }
metrics_listen = "0.0.0.0:9090"
minimum_agent = "0.1.0"

[limits]
grace_s = 90
max_body_bytes = 5368709120
patience_s = 10

[[agent]]
name = "acme"
keys = ["`+hash+`","`+hash+`"]

[[agent]]
name = "beta"
keys = ["`+hash+`"]

[[service]]
name = "repairs"
agents = ["acme","beta"]
keys = ["`+hash+`"]
`)
	pod := made.deployment.Spec.Template.Spec
	equal(t, "grace", *pod.TerminationGracePeriodSeconds, 105)
	equal(t, "clients' CA", files(pod)["tls/clients.crt"], "hub-tls/ca.crt")
	equal(t, "readiness", pod.Containers[0].ReadinessProbe.TCPSocket.Port, intstr.FromString("hub"))
	equal(t, "metrics", pod.Containers[0].Ports[1].ContainerPort, 9090)
	equal(t, "log", pod.Containers[0].Env, []core.EnvVar{{Name: "SCM_HUB_LOG", Value: "debug"}})
	equal(t, "type", made.service.Spec.Type, core.ServiceTypeLoadBalancer)
	equal(t, "port", made.service.Spec.Ports[0].Port, 8443)
	equal(t, "budget", *made.budget.Spec.MinAvailable, intstr.FromInt32(1))
}

func TestHubOfTheOperator(t *testing.T) {
	made := render(t, "scm-hub", "dangerPlainHttp: true\nexistingSecret: mine\n")
	if made.secret != nil {
		t.Error("a Secret beside the operator's")
	}
	pod := made.deployment.Spec.Template.Spec
	equal(t, "files", files(pod), map[string]string{"hub.toml": "mine/hub.toml"})
	equal(t, "scheme", pod.Containers[0].LivenessProbe.HTTPGet.Scheme, core.URISchemeHTTP)
}

// A key that is replaced must not cut the tunnels of all agents.
func TestHubRolls(t *testing.T) {
	sum := func(with string) string {
		return render(t, "scm-hub", with).deployment.Spec.Template.Annotations["checksum/config"]
	}
	before := sum(hubValues)
	equal(t, "another key", sum(strings.Replace(hubValues, "ba7816", "ab6178", 1)), before)
	equal(t, "a service", sum(hubValues+"services: [{ name: s, agents: [acme], keys: ["+hash+"] }]\n"), before)
	for _, more := range []string{"limits: { patience_s: 9 }\n", "minimumAgent: 0.2.0\n", "metricsListen: 0.0.0.0:9\n"} {
		if sum(hubValues+more) == before {
			t.Errorf("does not roll out: %s", more)
		}
	}
}

func TestHubRefuses(t *testing.T) {
	for name, one := range map[string]struct {
		values string
		says   []string
	}{
		"no TLS":       {"agents: [{ name: a, keys: [" + hash + "] }]\n", []string{"tls.secretName is missing", "kubectl create secret tls", "dangerPlainHttp=true"}},
		"both":         {hubValues + "dangerPlainHttp: true\n", []string{"exclude each other"}},
		"no agents":    {"tls: { secretName: x }\n", []string{"agents is empty", "scm-hub keygen --agent NAME", "existingSecret"}},
		"a plain key":  {"tls: { secretName: x }\nagents: [{ name: a, keys: [secret] }]\n", []string{"/agents/0/keys/0"}},
		"three keys":   {"tls: { secretName: x }\nagents: [{ name: a, keys: [" + hash + "," + hash + "," + hash + "] }]\n", []string{"/agents/0/keys", "maxItems"}},
		"a wide limit": {hubValues + "limits: { patience_s: soon }\n", []string{"/limits/patience_s", "number"}},
	} {
		t.Run(name, func(t *testing.T) {
			contains(t, refused(t, "scm-hub", one.values), one.says...)
		})
	}
}
