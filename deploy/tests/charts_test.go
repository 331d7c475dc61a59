// Package deploy installs the charts as helm does, on a cluster that is not there, and looks at what would be on it.
package deploy

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	kube "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"helm.sh/helm/v3/pkg/strvals"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	security "k8s.io/pod-security-admission/api"
	standards "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// objects is what a release puts on the cluster.
type objects struct {
	deployment *apps.Deployment
	secret     *core.Secret
	service    *core.Service
	policy     *networking.NetworkPolicy
	budget     *policy.PodDisruptionBudget
	check      *core.Pod
	notes      string
	manifest   string
}

func load(t *testing.T, name string) *chart.Chart {
	t.Helper()
	loaded, err := loader.LoadDir("../helm/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	parsed := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// cluster keeps releases in memory and takes every object. It is the oldest that the charts name.
func cluster() *action.Configuration {
	able := chartutil.DefaultCapabilities.Copy()
	able.KubeVersion = chartutil.KubeVersion{Version: "v1.23.0", Major: "1", Minor: "23"}
	return &action.Configuration{
		Releases:     storage.Init(driver.NewMemory()),
		KubeClient:   &kube.PrintingKubeClient{Out: io.Discard},
		Capabilities: able,
		Log:          func(string, ...any) {},
	}
}

func install(on *action.Configuration, from *chart.Chart, with map[string]any) (*release.Release, error) {
	run := action.NewInstall(on)
	run.ReleaseName, run.Namespace = "acme", "scm"
	return run.Run(from, with)
}

// render is `helm template` with these values.
func render(t *testing.T, name, with string) objects {
	t.Helper()
	made, err := install(cluster(), load(t, name), values(t, with))
	if err != nil {
		t.Fatal(err)
	}
	return read(t, made)
}

// refused is what helm says instead of installing.
func refused(t *testing.T, name, with string) string {
	t.Helper()
	_, err := install(cluster(), load(t, name), values(t, with))
	if err == nil {
		t.Fatalf("installed with %s", with)
	}
	return err.Error()
}

// read takes the objects for what Kubernetes takes them: a field that it does not know is an error.
func read(t *testing.T, made *release.Release) objects {
	t.Helper()
	found := objects{notes: made.Info.Notes, manifest: made.Manifest}
	texts := releaseutil.SplitManifests(made.Manifest)
	for _, hook := range made.Hooks {
		texts[hook.Name] = hook.Manifest
	}
	for _, text := range texts {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		var err error
		switch kind.Kind {
		case "Deployment":
			found.deployment, err = decode[apps.Deployment](text)
		case "Secret":
			found.secret, err = decode[core.Secret](text)
		case "Service":
			found.service, err = decode[core.Service](text)
		case "NetworkPolicy":
			found.policy, err = decode[networking.NetworkPolicy](text)
		case "PodDisruptionBudget":
			found.budget, err = decode[policy.PodDisruptionBudget](text)
		case "Pod":
			found.check, err = decode[core.Pod](text)
		default:
			err = fmt.Errorf("a %s is not expected", kind.Kind)
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
	}
	return found
}

func decode[T any](text string) (*T, error) {
	into := new(T)
	return into, yaml.UnmarshalStrict([]byte(text), into)
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// hardened holds for every pod of both charts: the strictest of the Pod Security Standards, and more.
func hardened(t *testing.T, pod core.PodSpec) {
	t.Helper()
	standard, err := standards.NewEvaluator(standards.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	for _, result := range standard.EvaluatePod(restricted, &meta.ObjectMeta{}, &pod) {
		if !result.Allowed {
			t.Errorf("restricted: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	equal(t, "a token of the service account", *pod.AutomountServiceAccountToken, false)
	for _, container := range pod.Containers {
		equal(t, "read-only root", *container.SecurityContext.ReadOnlyRootFilesystem, true)
		equal(t, "variables", container.Env, nil)
		equal(t, "variables", container.EnvFrom, nil)
		if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Memory().IsZero() {
			t.Error("memory is not limited")
		}
		for _, mount := range container.VolumeMounts {
			equal(t, "writable "+mount.Name, mount.ReadOnly, true)
		}
	}
}

func TestLint(t *testing.T) {
	for name, with := range map[string]string{"scm-agent": agentValues, "scm-hub": hubValues} {
		for _, message := range lint.All("../helm/"+name, values(t, with), "scm", true).Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, message.Error())
			}
		}
	}
}

// --reuse-values goes on with the values.yaml of the old chart: nothing may hang on what the new one has in it.
func TestReuseValues(t *testing.T) {
	for name, with := range map[string]string{"scm-agent": agentValues, "scm-hub": hubValues} {
		t.Run(name, func(t *testing.T) {
			old, present := load(t, name), load(t, name)
			old.Metadata.Version, old.Metadata.AppVersion = "0.0.1", "0.0.1"
			old.Values, old.Schema = map[string]any{}, nil
			on := cluster()
			if _, err := install(on, old, values(t, with)); err != nil {
				t.Fatal(err)
			}
			upgrade := action.NewUpgrade(on)
			upgrade.Namespace, upgrade.ReuseValues = "scm", true
			made, err := upgrade.Run("acme", present, map[string]any{})
			if err != nil {
				t.Fatal(err)
			}
			fresh := render(t, name, with)
			equal(t, "after an upgrade and fresh", made.Manifest, fresh.manifest)
			image := fresh.deployment.Spec.Template.Spec.Containers[0].Image
			equal(t, "image", image, name+":"+present.Metadata.AppVersion)
		})
	}
}

// A section with nothing in it, as it is left when each of its lines is commented out.
func TestEmptySections(t *testing.T) {
	for name, with := range map[string]string{"scm-agent": agentValues, "scm-hub": hubValues} {
		plain := values(t, with)
		for section := range load(t, name).Values {
			if _, set := plain[section]; !set {
				plain[section] = nil
			}
		}
		made, err := install(cluster(), load(t, name), plain)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, made.Manifest, render(t, name, with).manifest)
	}
}

func absent(t *testing.T, what, text, part string) {
	t.Helper()
	if strings.Contains(text, part) {
		t.Errorf("%q is in %s:\n%s", part, what, text)
	}
}

func asText(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The image's tag is the chart's version of the programs, where none is set.
func TestVersion(t *testing.T) {
	manifest, err := os.ReadFile("../../Cargo.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scm-agent", "scm-hub"} {
		contains(t, string(manifest), "[workspace.package]\nversion = \""+load(t, name).Metadata.AppVersion+"\"\n")
	}
}

// The examples that messages and README give, as a shell hands them to helm.
func TestSet(t *testing.T) {
	with := map[string]any{}
	for _, one := range []string{
		`hub=https://hub.example.com`,
		`accessKey=canary-key`,
		`allow[0]=https://gitlab.company.com=gitlab`,
		`proxy.httpsProxy=http://proxy.company.com:3128`,
		`proxy.noProxy=gitlab.company.com\,.svc`,
	} {
		if err := strvals.ParseInto(one, with); err != nil {
			t.Fatal(err)
		}
	}
	made, err := install(cluster(), load(t, "scm-agent"), with)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(read(t, made).secret.Data["agent.toml"]),
		`allow = ["https://gitlab.company.com=gitlab"]`,
		`httpsProxy = "http://proxy.company.com:3128"`,
		`noProxy = "gitlab.company.com,.svc"`,
	)
}
