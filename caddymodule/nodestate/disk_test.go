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
		disk.Seen(DiskSpace{Total: step.total, Available: step.available})
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

// The room for removals was given up: the node says that everything else is refused, also where
// the share of the disk says nothing, as on a very large one or with a quota.
func TestDiskReserveGivenUp(t *testing.T) {
	for _, space := range []DiskSpace{{ReserveGivenUp: true}, {Total: 1 << 40, Available: 1 << 39, ReserveGivenUp: true}, {Total: 1000, Available: 10, ReserveGivenUp: true}} {
		var disk Disk
		disk.Seen(space)
		found := disk.findings()
		if len(found) != 1 || found[0].Kind != diskFull || !strings.Contains(found[0].What, "kept for removals and revocations is given up") {
			t.Errorf("%+v: %+v", space, found)
		}
		space.ReserveGivenUp = false
		if disk.Seen(space); len(disk.findings()) > 0 && space.Available != 10 {
			t.Errorf("%+v: %+v", space, disk.findings())
		}
	}
}
