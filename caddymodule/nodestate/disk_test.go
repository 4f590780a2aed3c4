package nodestate

import (
	"strings"
	"testing"
)

// The disk of the database fills: the node says so at 80 %, while there is time, and louder
// at 95 %.
func TestDiskFills(t *testing.T) {
	var disk Disk
	for _, step := range []struct {
		total, available uint64
		want, says       string
	}{
		{0, 0, "", ""},
		{1 << 30, 1 << 29, "", ""},
		{1000, 201, "", ""},
		{1000, 200, "disk_filling", "80 % full"},
		{1000, 51, "disk_filling", "95 % full"},
		{1000, 50, "disk_full", "95 % full"},
		{1 << 30, 0, "disk_full", "0 B of 1.0 GiB are left"},
		{1000, 5000, "", ""},
	} {
		disk.Seen(step.total, step.available)
		got := ""
		for _, finding := range disk.findings() {
			if got = finding.Kind.Name; !strings.Contains(finding.What, step.says) {
				t.Errorf("%+v says %q", step, finding.What)
			}
		}
		if got != step.want {
			t.Errorf("%+v is %q", step, got)
		}
	}
}
