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

	"github.com/gatefold/gatefold/keys/keystest"
)

// write writes a file into the directory of a server and returns its path.
func (s *server) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// Every bad row of a file is reported with its line, and the grants of the other
// rows count at once.
func TestImportCSV(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	file := s.write("grants.csv", "\ufeffuserId,email,sku,endsAt,notes,deliveryAddress.city,extraFields,excludeFromStats\r\n"+
		`u1,,premium,,"two`+"\n"+`lines, quoted ""x""",Umeå,"{""a"":""1""}",true`+"\r\n"+ // lines 2 and 3
		"u2,u2@example.com,premium,2027-01-01T00:00:00Z,,,,\r\n"+
		",,premium,,,,,\r\n"+ // no reader
		"u3,,,,,,,\r\n"+ // no sku
		"u4,,premium,soon,,,,\r\n"+ // bad time
		"u5,,premium\r\n"+ // fields are missing
		"u6,,premium,,,,not json,\r\n"+
		"u7,,premium,,,,,\r\n")

	got := s.command("grant", "import", file)

	if got.code != 1 || !strings.Contains(got.stdout, "created 3 grants") || !strings.Contains(got.stderr, "5 rows were not imported") {
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

// plain returns an export without the fields that each server sets itself.
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

// The server is killed during an import. The same command resumes the import, and
// every row is stored once.
func TestImportResumesAfterServerKill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 6000
	file := s.write("grants.ndjson", ndjson(rows))
	cmd := exec.CommandContext(t.Context(), binary, "grant", "import", file, "--batch", "50", "--address", s.admin)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	output := new(keystest.Log)
	cmd.Stderr = output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.waitFor("a part is imported", func() bool {
		if text := output.String(); strings.Contains(text, "Error") {
			t.Fatalf("the import failed: %s", text)
		}
		return strings.Count(s.must("grant", "export"), "\n") > 200
	})
	s.kill()
	if err := cmd.Wait(); err == nil {
		t.Fatal("the import succeeded before the server was killed: make it longer")
	}
	s.start()
	before := strings.Count(s.must("grant", "export"), "\n") + 1
	if before <= 200 || before >= rows {
		t.Fatalf("%d rows were acknowledged before the kill", before)
	}

	got := s.command("grant", "import", file)
	if got.code != 0 || !strings.Contains(got.stdout, "created "+strconv.Itoa(rows)+" grants") || !strings.Contains(got.stderr, "resuming after row") {
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
	// Another run does nothing.
	if again := s.command("grant", "import", file); again.code != 0 || strings.Count(s.must("grant", "export"), "\n") != rows-1 {
		t.Errorf("%+v", again)
	}
}

// The import is interrupted or killed. The same command resumes it.
func TestImportResumesAfterInterrupt(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 3000
	file := s.write("grants.ndjson", ndjson(rows))
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		before := strings.Count(s.must("grant", "export"), "\n")
		cmd := exec.CommandContext(t.Context(), binary, "grant", "import", file, "--batch", "20", "--address", s.admin)
		cmd.Env, cmd.Dir = s.environment(), s.dir
		output := new(keystest.Log)
		cmd.Stderr, cmd.Stdout = output, output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.waitFor("a part is imported", func() bool { return strings.Count(s.must("grant", "export"), "\n") > before+40 })
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatalf("%v: the import ended before it was interrupted: make it longer\n%s", err, output)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("%v: the import succeeded before it was interrupted: make it longer\n%s", signal, output)
		}
		if text := output.String(); signal == os.Interrupt && (!strings.Contains(text, "interrupted; ") || !strings.Contains(text, "run the same command again")) {
			t.Errorf("after the interrupt it prints %s", text)
		}
	}
	got := s.command("grant", "import", file)
	if got.code != 0 || !strings.Contains(got.stdout, "created "+strconv.Itoa(rows)+" grants") || !strings.Contains(got.stderr, "resuming after row") {
		t.Errorf("%+v", got)
	}
	if made := strings.Count(s.must("grant", "export"), "\n") + 1; made != rows {
		t.Errorf("%d rows became %d grants", rows, made)
	}
}

// A bad row is reported with its line and does not stop the import. A file whose rows
// cannot be told apart stops the import within bounded memory.
func TestImportOfBrokenFiles(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	long := strings.Repeat("x", 2<<20)
	for _, test := range []struct {
		name, file, text string
		created          int
		says             []string
	}{
		{"quotes", "a.csv", "userId,sku,notes\nu1,p,a\nu2,p,b \"bare\" quote\nu3,p,\"one\"\"too\" many\nu4,p,ok\n", 2, []string{"line 3: column", "line 4: column"}},
		{"a quote that does not end", "a.csv", "userId,sku,notes\nu1,p,a\nu2,p,\"never\nu3,p,a\n", 0, []string{"begins in line 3 does not end"}},
		{"a quote that does not end for long", "a.csv", "userId,sku,notes\nu1,p,a\nu2,p,\"never" + strings.Repeat("\nu3,p,a", 1<<18) + "\n", 0, []string{"behind line 2 is longer than 1 MiB"}},
		{"Windows and no last newline", "a.csv", "\ufeffuserId,sku\r\nu1,p\r\n\r\nu2,p", 2, nil},
		{"old Excel", "a.csv", "userId,sku,firstName\nu1,p,Ume\xe5\nu2,p,Umeå\n", 1, []string{"line 2: firstName: is not UTF-8"}},
		{"semicolons", "a.csv", "userId;sku\nu1;p\n", 0, []string{"separated by commas"}},
		{"no reader column", "a.csv", "sku,notes\np,x\n", 0, []string{"no column says who the reader is"}},
		{"header alone", "a.csv", "userId,sku\n", 0, nil},
		{"long line", "a.ndjson", `{"userId":"u1","sku":"p"}` + "\n" + `{"userId":"` + long + `"}` + "\n" + `{"userId":"u2","sku":"p"}`, 2, []string{"line 2: is longer"}},
		{
			"all kinds", "a.ndjson", "\ufeff" + `{"userId":"u1","sku":"p"}` + "\r\n\r\nnull\n[]\n{\n" + `{"userId":"u` + "\xff" + `","sku":"p"}` + "\n" + `{"userId":"u","sku":"p","price":1}` + "\n" +
				`{"userId":"u","userId":"v","sku":"p"}` + "\n" + `{"userId":7,"sku":"p"}` + "\n" + `{"userId":"u2","sku":"p"}` + "\n", 2,
			[]string{"line 3: ", "line 4: ", "line 5: ", "line 6: is not UTF-8", "line 7: price", "line 8: cannot be read", "line 9: userId"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.must("grant", "remove", "--list", "src_default")
			got := s.command("grant", "import", s.write(test.file, test.text))
			if created := strings.Count(s.must("grant", "export")+"\n", "sku"); created != test.created {
				t.Errorf("%d grants were created, want %d: %s %s", created, test.created, got.stdout, got.stderr)
			}
			wantCode := 0
			if len(test.says) > 0 {
				wantCode = 1
			}
			if got.code != wantCode {
				t.Errorf("exit code %d: %s", got.code, got.stderr)
			}
			for _, part := range test.says {
				if !strings.Contains(got.stderr, part) {
					t.Errorf("stderr lacks %q:\n%.1000s", part, got.stderr)
				}
			}
		})
	}
}

// An import is killed while the server stores its last batch, and the next run starts
// before the batch is stored: it skips the rows that it finds stored.
func TestImportCatchesUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const list = "/management/access-lists/src_default/grants/batch"
	step := func(position int, rows ...string) {
		t.Helper()
		if _, ok := post(t.Context(), s, list, fmt.Sprintf(`{"importId":"late","position":%d,"grants":[%s]}`, position, strings.Join(rows, ","))); !ok {
			t.Fatal("the batch was refused")
		}
	}
	row := func(user string) string { return `{"userId":"` + user + `","sku":"p"}` }
	step(0, row("a"))
	// This import reads from a pipe: the late batch is stored while it waits for rows.
	cmd := exec.CommandContext(t.Context(), binary, "grant", "import", "-", "--format", "ndjson", "--import-id", "late", "--batch", "2", "--address", s.admin)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	output := new(keystest.Log)
	cmd.Stderr, cmd.Stdout = output, output
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.waitFor("it has read the position", func() bool { return strings.Contains(output.String(), "resuming after row 1") })
	step(1, row("b"), `{"userId":"c"}`, row("d"))
	for _, user := range []string{"a", "b", "c", "d", "e"} {
		if _, err := fmt.Fprintln(input, row(user)); err != nil {
			t.Fatal(err)
		}
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(output.String(), "line 3: ") || !strings.Contains(output.String(), "created 4 grants") {
		t.Errorf("%v\n%s", err, output)
	}
	if made := strings.Count(s.must("grant", "export"), "\n") + 1; made != 4 {
		t.Errorf("%d grants were created", made)
	}
}

// The answer to the last batch was lost. The next run reports its bad rows.
func TestImportReportsRowsOfLostAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	body := `{"importId":"lost","position":0,"grants":[{"userId":"a","sku":"p"},{"userId":"b"},{"userId":"c","sku":"p"}]}`
	if _, ok := post(t.Context(), s, "/management/access-lists/src_default/grants/batch", body); !ok {
		t.Fatal("the batch was refused")
	}
	file := s.write("a.csv", "userId,sku\na,p\nb,\nc,p\nd,p\n")
	got := s.command("grant", "import", file, "--import-id", "lost")
	if got.code != 1 || !strings.Contains(got.stderr, "line 3: ") || !strings.Contains(got.stdout, "created 3 grants") {
		t.Errorf("%+v", got)
	}
}

// The name of a finished import is given again with a corrected file: its rows are not
// skipped as if they were stored, and nothing is changed. A file or a list that cannot
// be imported at all is not to be imported "again to resume".
func TestImportNameIsForOneFile(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("grant", "import", s.write("a.csv", "userId,sku\na,p\n"), "--import-id", "january")
	for range 2 {
		got := s.command("grant", "import", s.write("a.csv", "userId,sku\na,q\nb,p\n"), "--import-id", "january")
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "an import january was made already: choose another name") {
			t.Errorf("%+v", got)
		}
	}
	if made := s.must("grant", "export"); strings.Count(made, "sku") != 1 {
		t.Errorf("the grants are %s", made)
	}
	s.must("grant", "import", "--undo", "january")
	if got := s.command("grant", "import", s.write("a.csv", "userId,sku\na,q\n"), "--import-id", "january"); got.code != 1 || !strings.Contains(got.stderr, "choose another name") {
		t.Errorf("after undoing it: %+v", got)
	}
	for _, args := range [][]string{{s.write("b.csv", "userid,sku\na,p\n")}, {s.write("c.csv", "userId,sku\na,p\n"), "--list", "src_none"}} {
		got := s.command(append([]string{"grant", "import"}, args...)...)
		if got.code != 1 || strings.Contains(got.stderr, "again") {
			t.Errorf("%v: %+v", args, got)
		}
		if len(args) > 1 && !strings.Contains(got.stderr, "no access list src_none") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// The server's memory does not grow with the file.
func TestImportMemoryIsBounded(t *testing.T) {
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

// anonymousMemory returns the server's memory in KiB, without the mapped file.
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
