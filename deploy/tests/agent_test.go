package deploy

import (
	"encoding/base64"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const agentValues = `
hub: https://hub.example.com
accessKey: canary-key
allow: ["https://gitlab.company.com=gitlab"]
`

// Everything that can be set, in the words of the field.
const agentFull = `
hub: https://hub.example.com:8443
accessKey: canary-key
gitproxy: { enabled: true, graceSeconds: 60, healthListen: "[::]:9191", tunnels: 3, log: debug, settings: { requestTimeout: 600 }, replicas: 1, serviceAccountName: scm }
proxy:
  httpProxy: http://proxy.company.com:3128
  httpsProxy: http://user:pass"word@proxy.company.com:3128
  noProxy: gitlab.company.com,.company.com,.svc,.cluster.local,10.0.0.0/8
customCaCert: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==
allow:
  - https://gitlab.company.com=gitlab
  - http://bitbucket.company.com:7990=bitbucket-dc:read,clone
allowAddresses: ["127.0.0.1"]
tunnel:
  proxy: { existingSecret: way-out }
  clientCertSecret: own
servers:
  proxy: { httpProxy: "", httpsProxy: "" }
  customCaCert: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==
credentials:
  - origin: https://gitlab.company.com
    username: svc
    secret: { name: gitlab-token }
  - origin: http://bitbucket.company.com:7990
    secret: { name: bitbucket, key: access }
image: { repository: images.company.com/scm-agent, tag: "9", pullSecrets: [pull] }
networkPolicy: { enabled: true, extraPorts: [3129] }
`

func TestAgent(t *testing.T) {
	made := render(t, "scm-agent", agentValues)
	equal(t, "name", made.deployment.Name, "gitproxy")
	equal(t, "namespace", made.deployment.Namespace, "scm")
	equal(t, "label", made.deployment.Labels["app"], "gitproxy")
	selector := map[string]string{"app": "gitproxy", "app.kubernetes.io/instance": "acme"}
	equal(t, "selector", made.deployment.Spec.Selector.MatchLabels, selector)
	equal(t, "labels of the pod", made.deployment.Spec.Template.Labels, selector)
	equal(t, "strategy", *made.deployment.Spec.Strategy.RollingUpdate, apps.RollingUpdateDeployment{
		MaxUnavailable: &intstr.IntOrString{IntVal: 0},
		MaxSurge:       &intstr.IntOrString{IntVal: 1},
	})

	pod := made.deployment.Spec.Template.Spec
	hardened(t, pod)
	equal(t, "grace", *pod.TerminationGracePeriodSeconds, 45)
	container := pod.Containers[0]
	equal(t, "image", container.Image, "scm-agent:0.1.0")
	equal(t, "command", container.Command, []string{"/usr/bin/scm-agent"})
	equal(t, "arguments", container.Args, []string{"run", "--config", "/etc/scm-agent/agent.toml"})
	equal(t, "ports", container.Ports, []core.ContainerPort{{Name: "health", ContainerPort: 8080}})
	equal(t, "liveness", container.LivenessProbe.HTTPGet.Path, "/healthz")
	equal(t, "readiness", container.ReadinessProbe.HTTPGet.Path, "/readyz")

	equal(t, "config", string(made.secret.Data["agent.toml"]), `hub = "https://hub.example.com"
accessKey = { file = "/etc/scm-agent/accessKey" }
allow = ["https://gitlab.company.com=gitlab"]
tunnels = 2
grace = 30
healthListen = "0.0.0.0:8080"
`)
	equal(t, "key", string(made.secret.Data["accessKey"]), "canary-key")
	equal(t, "budget", *made.budget.Spec.MaxUnavailable, intstr.FromInt32(1))

	if made.service != nil {
		t.Error("there is a way in")
	}
	if made.policy != nil {
		t.Error("a network policy that nobody asked for")
	}
	hardened(t, made.check.Spec)
	equal(t, "check", made.check.Spec.Containers[0].Args, []string{"check", "--config", "/etc/scm-agent/agent.toml"})
	equal(t, "volumes of the check", made.check.Spec.Volumes, pod.Volumes)
	if made.check.Labels["app"] == "gitproxy" {
		t.Error("the pod of the check counts as an agent")
	}
	contains(t, made.notes, "https://gitlab.company.com=gitlab", "helm -n scm test acme --logs", "accessKeySecret.name")
}

func TestAgentFull(t *testing.T) {
	made := render(t, "scm-agent", agentFull)
	equal(t, "config", string(made.secret.Data["agent.toml"]), `hub = "https://hub.example.com:8443"
accessKey = { file = "/etc/scm-agent/accessKey" }
allow = ["https://gitlab.company.com=gitlab","http://bitbucket.company.com:7990=bitbucket-dc:read,clone"]
tunnels = 3
grace = 60
healthListen = "[::]:9191"
allowAddresses = ["127.0.0.1"]
requestTimeout = 600
customCaCert = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="

[proxy]
httpProxy = "http://proxy.company.com:3128"
httpsProxy = "http://user:pass\"word@proxy.company.com:3128"
noProxy = "gitlab.company.com,.company.com,.svc,.cluster.local,10.0.0.0/8"

[tunnel]
clientCert = { file = "/etc/scm-agent/tunnel-tls.crt" }
clientKey = { file = "/etc/scm-agent/tunnel-tls.key" }

[tunnel.proxy]
httpProxy = { file = "/etc/scm-agent/tunnel-httpProxy" }
httpsProxy = { file = "/etc/scm-agent/tunnel-httpsProxy" }

[servers]
customCaCert = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="

[servers.proxy]
httpProxy = ""
httpsProxy = ""

[[credential]]
origin = "https://gitlab.company.com"
username = "svc"
file = "/etc/scm-agent/credential-0"

[[credential]]
origin = "http://bitbucket.company.com:7990"
file = "/etc/scm-agent/credential-1"
`)
	pod := made.deployment.Spec.Template.Spec
	equal(t, "grace", *pod.TerminationGracePeriodSeconds, 75)
	equal(t, "port", pod.Containers[0].Ports[0].ContainerPort, 9191)
	equal(t, "image", pod.Containers[0].Image, "images.company.com/scm-agent:9")
	equal(t, "pull secret", pod.ImagePullSecrets, []core.LocalObjectReference{{Name: "pull"}})
	equal(t, "service account", pod.ServiceAccountName, "scm")
	equal(t, "files", files(pod), map[string]string{
		"agent.toml":        "gitproxy/agent.toml",
		"accessKey":         "gitproxy/accessKey",
		"tunnel-httpProxy":  "way-out/httpProxy",
		"tunnel-httpsProxy": "way-out/httpsProxy",
		"tunnel-tls.crt":    "own/tls.crt",
		"tunnel-tls.key":    "own/tls.key",
		"credential-0":      "gitlab-token/token",
		"credential-1":      "bitbucket/access",
	})
	equal(t, "log", pod.Containers[0].Env, []core.EnvVar{{Name: "SCM_AGENT_LOG", Value: "debug"}})
	if made.budget != nil {
		t.Error("a budget for one agent")
	}
	contains(t, made.notes, `"Bad Gateway"`, "proxy.noProxy is now: gitlab.company.com,.company.com,.svc")

	equal(t, "ways in", len(made.policy.Spec.Ingress), 0)
	equal(t, "closed", len(made.policy.Spec.PolicyTypes), 2)
	var ports []int32
	for _, rule := range made.policy.Spec.Egress {
		for _, port := range rule.Ports {
			ports = append(ports, port.Port.IntVal)
		}
	}
	equal(t, "ways out", ports, []int32{53, 53, 5353, 5353, 3129, 8443, 443, 7990, 3128})
}

// files tells for each file in the pod from which key of which Secret it is.
func files(pod core.PodSpec) map[string]string {
	found := map[string]string{}
	for _, source := range pod.Volumes[0].Projected.Sources {
		for _, item := range source.Secret.Items {
			found[item.Path] = source.Secret.Name + "/" + item.Key
		}
	}
	return found
}

func TestAgentSecretsStayInSecrets(t *testing.T) {
	made := render(t, "scm-agent", agentFull)
	made.secret = nil
	for _, canary := range []string{"canary-key", base64.StdEncoding.EncodeToString([]byte("canary-key")), "pass\"word"} {
		for what, text := range map[string]string{"the deployment": asText(t, made.deployment), "the check": asText(t, made.check), "the notes": made.notes} {
			absent(t, what, text, canary)
		}
	}

	there := render(t, "scm-agent", agentValues+"accessKeySecret: { name: there, key: k }\n")
	equal(t, "key of", files(there.deployment.Spec.Template.Spec)["accessKey"], "there/k")
	if _, copied := there.secret.Data["accessKey"]; copied {
		t.Error("the key that is not used stands in the Secret")
	}
}

// What is not read again by a running agent must start new ones, and nothing else may.
func TestAgentRolls(t *testing.T) {
	sum := func(more string) string {
		return render(t, "scm-agent", agentValues+more).deployment.Spec.Template.Annotations["checksum/config"]
	}
	before := sum("")
	equal(t, "nothing changed", sum("networkPolicy: { enabled: true }\n"), before)
	for _, more := range []string{
		"proxy: { noProxy: .company.com }\n",
		"proxy: { httpProxy: http://proxy.company.com:3128 }\n",
		"proxy: { httpsProxy: http://proxy.company.com:3128 }\n",
		"customCaCert: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==\n",
		"allowAddresses: [127.0.0.1]\n",
		"gitproxy: { tunnels: 4 }\n",
	} {
		if sum(more) == before {
			t.Errorf("does not roll out: %s", more)
		}
	}
	other := "hub: https://hub.example.com\naccessKey: other\nallow: [\"https://gitlab.company.com=gitlab\"]\n"
	if render(t, "scm-agent", other).deployment.Spec.Template.Annotations["checksum/config"] == before {
		t.Error("another access key does not roll out")
	}
}

func TestAgentOff(t *testing.T) {
	made := render(t, "scm-agent", "gitproxy: { enabled: false }\n")
	equal(t, "objects", made.manifest, "")
	contains(t, made.notes, "gitproxy.enabled is false")
}

// A file of values may be one that other charts of the service read, too.
func TestAgentLeavesOthersAlone(t *testing.T) {
	made := render(t, "scm-agent", agentValues+"worker: { replicas: 3 }\njanitor: {}\nglobal: {}\n")
	equal(t, "objects", made.manifest, render(t, "scm-agent", agentValues).manifest)
}

func TestAgentLists(t *testing.T) {
	made := render(t, "scm-agent", agentValues+"proxy: { httpProxy: http://p:1, noProxy: [.a, .b] }\n")
	contains(t, string(made.secret.Data["agent.toml"]), "noProxy = \".a,.b\"\n")
	// As a block of YAML carries it, and as PEM.
	made = render(t, "scm-agent", agentValues+"customCaCert: |\n  LS0tLS1CRUdJTiBDRVJUSUZJ\n  Q0FURS0tLS0tCg==\n")
	contains(t, string(made.secret.Data["agent.toml"]), "customCaCert = \"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==\"\n")
	made = render(t, "scm-agent", agentValues+"customCaCert: |\n  -----BEGIN CERTIFICATE-----\n  AAAA\n")
	contains(t, string(made.secret.Data["agent.toml"]), `customCaCert = "-----BEGIN CERTIFICATE-----\nAAAA\n"`)
}

func TestAgentRefuses(t *testing.T) {
	for name, one := range map[string]struct {
		values string
		says   []string
	}{
		"no key": {
			"hub: https://h\nallow: [\"https://g=gitlab\"]\n",
			[]string{"accessKey is missing", "scm-hub keygen --agent NAME", "--set accessKey=KEY", "--set accessKeySecret.name="},
		},
		"no hub": {
			"accessKey: canary-key\nallow: [\"https://g=gitlab\"]\n",
			[]string{"hub is missing", "--set hub=https://hub.example.com"},
		},
		"nothing allowed": {
			"accessKey: canary-key\nhub: https://h\n",
			[]string{"allow is missing", "--set 'allow[0]=https://gitlab.company.com=gitlab'"},
		},
		"a hub without a scheme": {
			"accessKey: canary-key\nhub: hub.example.com\nallow: [\"https://g=gitlab\"]\n",
			[]string{"hub is hub.example.com, which is no URL", "https://hub.example.com"},
		},
		"plain": {
			"accessKey: canary-key\nhub: http://h\nallow: [\"https://g=gitlab\"]\n",
			[]string{"hub is http://", "dangerPlainHttp=true"},
		},
		"a file's name for a CA": {
			agentValues + "customCaCert: /etc/ca.pem\n",
			[]string{"customCaCert is no certificate", "base64 -w0 ca.pem"},
		},
		"a leg's CA": {
			agentValues + "servers: { customCaCert: nonsense }\n",
			[]string{"servers.customCaCert is no certificate"},
		},
		"another spelling": {
			agentValues + "customCACert: x\n",
			[]string{"customCACert is written customCaCert"},
		},
		"another spelling of a proxy": {
			agentValues + "proxy: { http_proxy: http://p:3128 }\n",
			[]string{"'/proxy'", "'http_proxy' not allowed"},
		},
		"an origin without a preset": {
			"accessKey: canary-key\nhub: https://h\nallow: [\"https://g\"]\n",
			[]string{"allow has https://g, which is not written ORIGIN=PRESET", "https://gitlab.company.com=gitlab"},
		},
		"a credential without a Secret": {
			agentValues + "credentials: [{ origin: https://g, token: canary-key }]\n",
			[]string{"/credentials/0", "missing property 'secret'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := refused(t, "scm-agent", one.values)
			contains(t, said, one.says...)
			absent(t, "the message", said, "canary-key")
		})
	}
}
