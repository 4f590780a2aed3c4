package packagetest

import (
	"debug/elf"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A release has what it promises: a static binary, in an archive and in packages that
// hold the same files, an SBOM with the modules of the binary, and checksums of all.
func TestReleaseFiles(t *testing.T) {
	t.Parallel()
	dist := released(t)
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = dist
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != 4 {
		t.Errorf("the checksums of an archive, an SBOM and two packages: %v\n%s", err, out)
	}

	unpacked := t.TempDir()
	run(t, "tar", "-xzf", one(t, dist, "gatefold_*.tar.gz"), "--strip-components=1", "-C", unpacked)
	binary := filepath.Join(unpacked, "gatefold")
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, err := program.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("the binary needs the libraries %v", libraries)
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("the binary needs a dynamic linker")
		}
	}
	if got := run(t, binary, "version"); !strings.Contains(got, version) {
		t.Errorf("the binary is %s", got)
	}

	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(read(t, one(t, dist, "*.cdx.json"))), &bom); err != nil {
		t.Fatal(err)
	}
	modules := regexp.MustCompile(`(?m)^\s+dep\s+(\S+)\s+(\S+)`).FindAllStringSubmatch(run(t, "go", "version", "-m", binary), -1)
	listed := map[string]string{}
	for _, component := range bom.Components {
		listed[component.Name] = component.Version
	}
	for _, module := range modules {
		if listed[module[1]] != module[2] {
			t.Errorf("the SBOM has %s %q, the binary %s", module[1], listed[module[1]], module[2])
		}
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Version != version || len(modules) < 100 {
		t.Errorf("the SBOM is of %+v, in the format %s; the binary has %d modules", bom.Metadata.Component, bom.BOMFormat, len(modules))
	}

	deb := files(regexp.MustCompile(`(?m) \.(/\S+[^/\s])$`), run(t, "dpkg-deb", "--contents", one(t, dist, "gatefold_*.deb")))
	rpm := files(regexp.MustCompile(`(?m)^-\S+ .* (/\S+)$`), run(t, "rpm", "-q", "--package", "--list", "--verbose", "--nosignature", one(t, dist, "gatefold-*.rpm")))
	if !slices.Equal(deb, rpm) {
		t.Errorf("the .deb has\n%s\nthe .rpm\n%s", strings.Join(deb, "\n"), strings.Join(rpm, "\n"))
	}
	for _, wanted := range []string{
		"/usr/bin/gatefold", "/usr/lib/systemd/system/gatefold.service", "/usr/lib/systemd/system/gatefold.socket", "/etc/gatefold/Caddyfile", "/etc/gatefold/gatefold.env",
		"/usr/share/man/man8/gatefold-link-create.8.gz", "/usr/share/zsh/vendor-completions/_gatefold", "/usr/share/fish/vendor_completions.d/gatefold.fish",
	} {
		if !slices.Contains(deb, wanted) {
			t.Errorf("the packages lack %s", wanted)
		}
	}
	if needs := run(t, "rpm", "-q", "--package", "--requires", "--scripts", "--nosignature", one(t, dist, "gatefold-*.rpm")); !strings.Contains(needs, "shadow-utils") || !strings.Contains(needs, "useradd") {
		t.Errorf("the .rpm needs and runs\n%s", needs)
	}
}

func files(pattern *regexp.Regexp, listing string) []string {
	var names []string
	for _, match := range pattern.FindAllStringSubmatch(listing, -1) {
		names = append(names, match[1])
	}
	slices.Sort(names)
	return names
}

// systemd rates what a taken-over service could reach, from 0 to 10.
func TestUnitsExposure(t *testing.T) {
	t.Parallel()
	service := filepath.Join(root, "packaging/gatefold.service")
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", service).CombinedOutput(); err != nil {
		t.Errorf("the exposure is over 2.0: %v\n%s", err, out)
	}
	// It only names what it does not know: settings that are spelt wrongly have no effect.
	out, _ := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--no-pager", "--man=no", service, filepath.Join(root, "packaging/gatefold.socket")).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "gatefold.") && !strings.Contains(line, "/usr/bin/gatefold is not executable") {
			t.Errorf("systemd says %s", line)
		}
	}
}
