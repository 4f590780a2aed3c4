package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// latency is what readers see while something else goes on.
type latency struct {
	times []time.Duration
	most  int // anonymous memory of the server, in KiB
}

// read reads pages, public ones and an article by a reader's token, until done is closed or
// there were enough requests.
func (l *latency) read(s *server, cookie string, enough int, done <-chan struct{}) {
	s.t.Helper()
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := 0; enough == 0 || i < enough; i++ {
		select {
		case <-done:
			return
		case <-pace.C:
		}
		begun := time.Now()
		if i%2 == 0 {
			s.get(s.site+"/").expect(s.t, http.StatusOK, "")
		} else {
			s.get(s.site+"/articles/hello", "Cookie", cookie).expect(s.t, http.StatusOK, "")
		}
		l.times = append(l.times, time.Since(begun))
		if i%100 == 0 {
			l.most = max(l.most, s.anonymousMemory())
		}
	}
}

// p99 returns the 99th percentile.
func (l *latency) p99() time.Duration {
	slices.Sort(l.times)
	return l.times[len(l.times)*99/100]
}

// A newsletter goes to 50,000 readers, each with a link of their own. The command is
// interrupted in the middle and run again: there is one link for each reader, and those that
// were made first are among them. Readers get their pages meanwhile, and the server's memory
// is not that of the newsletter.
func TestNewsletterOfFiftyThousandReaders(t *testing.T) {
	t.Parallel()
	const readers = 50_000
	s := startServer(t)
	var rows strings.Builder
	rows.WriteString("userId\n")
	for i := range readers {
		fmt.Fprintf(&rows, "reader-%d\n", i)
	}
	links := filepath.Join(s.dir, "links.csv")
	args := []string{
		"link", "create", s.site + "/articles/hello?utm_source=mail", "--each", s.write("readers.csv", rows.String()), "--output", links,
		"--max-uses", "3", "--expires", "14d", "--meta", "campaign=2026-48", "--address", s.admin,
	}
	start := func() (cmd *exec.Cmd, said *keystest.Log, done chan struct{}) {
		cmd, said, done = exec.CommandContext(t.Context(), binary, args...), new(keystest.Log), make(chan struct{})
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.environment(), s.dir, said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait(); close(done) }()
		return cmd, said, done
	}
	stored := func(limit string) (ids []string) {
		var found []struct{ TokenID string }
		if err := json.Unmarshal([]byte(s.must("link", "list", "--limit", limit, "--json")), &found); err != nil {
			t.Fatal(err)
		}
		for _, link := range found {
			ids = append(ids, link.TokenID)
		}
		return ids
	}

	interrupted, said, done := start()
	s.waitFor("links are made", func() bool { return len(stored("1")) > 0 })
	if err := interrupted.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-done
	if code := interrupted.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "interrupted: run the same command again to get the same links") {
		t.Errorf("the interrupted command ends with %d and says %s", code, said)
	}
	if left, _ := filepath.Glob(links + "*"); len(left) > 0 {
		t.Errorf("it leaves %q, which a program could take for the whole", left)
	}
	first := stored("250")

	s.must("grant", "add", "--user", "subscriber", "--sku", "premium")
	cookie := "reader=" + s.must("token", "reader", "--user", "subscriber")
	var before, during latency
	before.read(s, cookie, 1000, nil)
	begun := time.Now()
	complete, said, done := start()
	during.read(s, cookie, 0, done)
	<-done
	t.Logf("%d links in %v; p99 of %d requests %v before, of %d requests %v meanwhile; the server has %d KiB before, and %d at most",
		readers, time.Since(begun).Round(time.Millisecond), len(before.times), before.p99(), len(during.times), during.p99(), before.most, during.most)
	if code := complete.ProcessState.ExitCode(); code != 0 || !strings.Contains(said.String(), "created 50000 links in ") {
		t.Fatalf("the command ends with %d and says %s", code, said)
	}
	// The bounds are for a machine that does other things; the figures are in the log.
	if during.p99() > 500*time.Millisecond {
		t.Errorf("1 of 100 readers waits for %v", during.p99())
	}
	if grown := during.most - before.most; grown > 96<<10 {
		t.Errorf("the server's memory grew by %d KiB", grown)
	}
	s.checkNewsletter(links, readers, first)
}

// checkNewsletter checks the file of a newsletter's links.
func (s *server) checkNewsletter(name string, readers int, first []string) {
	s.t.Helper()
	file, err := os.Open(name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		s.t.Errorf("others may read the links: %v, %v", info.Mode(), err)
	}
	made, err := csv.NewReader(file).ReadAll()
	if err != nil || len(made) != readers+1 {
		s.t.Fatalf("%d rows: %v", len(made), err)
	}
	ids := map[string]bool{}
	for i, row := range made[1:] {
		if row[0] != fmt.Sprint(i) || row[1] != fmt.Sprint("reader-", i) || !strings.HasPrefix(row[3], s.site+"/articles/hello?utm_source=mail&token=") {
			s.t.Fatalf("row %d is %q", i, row)
		}
		ids[row[2]] = true
	}
	for i, id := range first {
		if made[1+i][2] != id {
			s.t.Fatalf("link %d was %s, and is %s", i, id, made[1+i][2])
		}
	}
	if len(ids) != readers || len(first) == 0 {
		s.t.Errorf("there are %d links; %d were made before the interruption", len(ids), len(first))
	}
	for _, row := range []int{1, readers / 2, readers} {
		if got := s.get(made[row][3]); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "origin saw /articles/hello?utm_source=mail") || strings.Contains(got.body, "token") {
			s.t.Errorf("link %d gives %d %s", row, got.StatusCode, got.body)
		}
		if shown := s.must("link", "show", made[row][2]); !strings.Contains(shown, "1 of 3") || !strings.Contains(shown, `{"campaign":"2026-48"}`) || !strings.Contains(shown, made[row][1]) {
			s.t.Errorf("link %d is\n%s", row, shown)
		}
	}
}

// What is wrong with a file of links is said with the line, and no link is made.
func TestFileOfLinksWithMistakes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	page := s.site + "/articles/hello"
	for name, c := range map[string]struct {
		file, text string
		args       []string
		want       []string
	}{
		"a number":       {"a.csv", "userId,maxUses\nu1,3\nu2,many\n", []string{page}, []string{"line 3: maxUses: must be a whole number", "no link was created"}},
		"a lifetime":     {"b.csv", "userId,expiresIn\nu1,14d\n\nu2,9y\n", []string{page}, []string{"line[4].expiresIn: ", "no link was created"}},
		"a line":         {"c.ndjson", `{"userId":"u1"}` + "\n{\n", []string{page}, []string{"line 2: is not a JSON object"}},
		"no page":        {"d.ndjson", "\n" + `{"userId":"u1"}`, nil, []string{"line[2].url: is required"}},
		"a column":       {"e.csv", "user\nu1\n", []string{page}, []string{`the column "user" is not known; known are url, sku, `, "meta.<name>"}},
		"no rows":        {"f.csv", "userId\n", []string{page}, []string{"has no rows"}},
		"another format": {"g.txt", "u1\n", []string{page}, []string{"--format: must be csv or ndjson"}},
	} {
		got := s.command(append(append([]string{"link", "create"}, c.args...), "--each", s.write(c.file, c.text))...)
		if got.code != 1 || got.stdout != "" {
			t.Errorf("%s: %+v", name, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%s: no %q in %s", name, want, got.stderr)
			}
		}
	}
	if links := s.must("link", "list", "--json"); links != "[]" {
		t.Errorf("links were made: %s", links)
	}
	// What a row says counts before the flags.
	table := s.must("link", "create", page, "--each", s.write("h.csv", "userId,url,meta.issue\nu1,,7\nu2,"+s.site+"/articles/other,\n"), "--meta", "campaign=may")
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || len(rows) != 3 || !strings.HasPrefix(rows[1][3], page+"?token=") || !strings.HasPrefix(rows[2][3], s.site+"/articles/other?token=") {
		t.Fatalf("%v: %q", err, rows)
	}
	if shown := s.must("link", "show", rows[1][2]); !strings.Contains(shown, `{"campaign":"may","issue":"7"}`) {
		t.Errorf("the first link is\n%s", shown)
	}
}
