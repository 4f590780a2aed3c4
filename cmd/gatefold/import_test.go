package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// write writes a file for the commands of a server.
func (s *server) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// A list of subscribers comes from another system. Every bad row is named with
// its line, and the good ones count at once.
func TestImportCSV(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	file := s.write("grants.csv", "\ufeffuserId,email,sku,endsAt,notes,deliveryAddress.city,extraFields,excludeFromStats\r\n"+
		`u1,,premium,,"two`+"\n"+`lines, quoted ""x""",Umeå,"{""a"":""1""}",true`+"\r\n"+ // lines 2 and 3
		"u2,u2@example.com,premium,2027-01-01T00:00:00Z,,,,\r\n"+
		",,premium,,,,,\r\n"+ // nobody
		"u3,,,,,,,\r\n"+ // no sku
		"u4,,premium,soon,,,,\r\n"+ // bad time
		"u5,,premium\r\n"+ // fields are missing
		"u6,,premium,,,,not json,\r\n"+
		"u7,,premium,,,,,\r\n")

	got := s.command("grant", "import", file)

	if got.code != 1 || !strings.Contains(got.stdout, "created 3 grants") || !strings.Contains(got.stderr, "no grant was made of 5 rows") {
		t.Errorf("%+v", got)
	}
	for _, report := range []string{"line 5: userId:", "line 6: ", "line 7: startsAt:", "line 7: ", "line 8: has 3 fields", "line 9: extraFields:"} {
		if report == "line 7: startsAt:" {
			report = "line 7: endsAt:"
		}
		if !strings.Contains(got.stderr, report) {
			t.Errorf("the report lacks %q:\n%s", report, got.stderr)
		}
	}
	token := s.must("token", "reader", "--user", "u7")
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
	for _, bad := range []string{"userId,price\nu,1\n", "userId\nu\n", "sku,sku\na,b\n", ""} {
		if got := s.command("grant", "import", s.write("bad.csv", bad)); got.code != 1 || got.stdout != "" {
			t.Errorf("%q: %+v", bad, got)
		}
	}

	// What is exported can be imported again, in either format.
	for _, format := range []string{"ndjson", "csv"} {
		copied := s.write("export."+format, s.must("grant", "export", "--format", format)+"\n")
		other := startServer(t)
		other.must("grant", "import", copied)
		first, second := s.must("grant", "export"), other.must("grant", "export")
		if plain(t, first) != plain(t, second) {
			t.Errorf("%s: exported was\n%s\nand again\n%s", format, first, second)
		}
	}
}

// plain is an export without what every server makes anew.
func plain(t *testing.T, export string) string {
	t.Helper()
	var rows []string
	for line := range strings.Lines(export) {
		var fields map[string]any
		decode(t, line, &fields)
		for _, own := range []string{"id", "createdAt", "updatedAt"} {
			delete(fields, own)
		}
		row, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, string(row))
	}
	return strings.Join(rows, "\n")
}

func ndjson(rows int) string {
	var text strings.Builder
	for i := range rows {
		fmt.Fprintf(&text, `{"userId":"user-%d","sku":"premium"}`+"\n", i)
	}
	return text.String()
}

// The import is interrupted: the server is killed in the middle. Run again, the
// same command goes on, and in the end every row is there once.
func TestImportGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 6000
	file := s.write("grants.ndjson", ndjson(rows))
	cmd := exec.CommandContext(t.Context(), binary, "grant", "import", file, "--batch", "50", "--address", s.admin)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	said := new(logFile)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.waitFor("a part is imported", func() bool {
		if text := said.String(); strings.Contains(text, "Error") {
			t.Fatalf("the import failed: %s", text)
		}
		return strings.Count(s.must("grant", "export"), "\n") > 200
	})
	s.kill()
	if err := cmd.Wait(); err == nil {
		t.Fatal("the import ended well before the server was killed: make it longer")
	}
	s.start()
	before := strings.Count(s.must("grant", "export"), "\n") + 1
	if before <= 200 || before >= rows {
		t.Fatalf("%d rows were acknowledged before the kill", before)
	}

	got := s.command("grant", "import", file)
	if got.code != 0 || !strings.Contains(got.stdout, "created "+strconv.Itoa(rows)+" grants") || !strings.Contains(got.stderr, "going on behind") {
		t.Errorf("%+v", got)
	}
	users := map[string]int{}
	for line := range strings.Lines(s.must("grant", "export")) {
		var grant struct{ UserID string }
		decode(t, line, &grant)
		users[grant.UserID]++
	}
	for i := range rows {
		if n := users[fmt.Sprintf("user-%d", i)]; n != 1 {
			t.Fatalf("user-%d has %d grants", i, n)
		}
	}
	// Once more does nothing.
	if again := s.command("grant", "import", file); again.code != 0 || strings.Count(s.must("grant", "export"), "\n") != rows-1 {
		t.Errorf("%+v", again)
	}
}

// However large the file, neither side takes it into memory.
func TestImportIsFlat(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 40_000
	s.must("grant", "import", s.write("warm.ndjson", ndjson(5000)))
	before := s.anonymousMemory()
	cmd := exec.CommandContext(t.Context(), binary, "grant", "import", s.write("grants.ndjson", strings.ReplaceAll(ndjson(rows), "user-", "many-")), "--address", s.admin)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := s.anonymousMemory()
	t.Logf("%d rows in %v; the server's anonymous memory grew from %d to %d KiB", rows, time.Since(began).Round(time.Millisecond), before, after)
	if after > before+192<<10 {
		t.Errorf("the server's memory grew from %d to %d KiB", before, after)
	}
}

// anonymousMemory is the server's own memory in KiB, without the mapped file.
func (s *server) anonymousMemory() int {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			size, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				s.t.Fatal(err)
			}
			return size
		}
	}
	s.t.Fatal("no RssAnon")
	return 0
}
