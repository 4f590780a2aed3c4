package command

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// eachHelp describes the files of --each.
func eachHelp() string {
	return `Creates a signed link and prints its URL.

With --each it creates a link for each row of a CSV or NDJSON file, up to 100,000, and
writes them to the file of --output: CSV or, if its name says so, NDJSON. The URL and the
flags are the defaults of all rows. The first line of a CSV file names its columns:
  ` + strings.Join(admin.LinkColumns(), ", ") + `
and meta.<name> for what is stored with the link. Of an NDJSON file each line is a JSON
object with these members.

All rows are checked before the first link is made; one that is refused is named by its
line. For 24 hours the same file and flags make the same links, with new tokens: if the
command is interrupted, run it again. --key names another set of links.`
}

// linkFile is the file of --each.
type linkFile struct {
	*call
	name, format string
	defaults     map[string]json.RawMessage
	rows         int64
}

// createEach makes a link for each row of a file.
func (c *call) createEach(defaults any) error {
	// On Ctrl-C the server stops as well, behind the links that it has sent.
	ctx, stop := signal.NotifyContext(c.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.cmd.SetContext(ctx)
	f := &linkFile{call: c, name: c.text("each")}
	var err error
	if f.format, err = fileFormat(f.name, c.text("format")); err != nil {
		return err
	}
	encoded, err := json.Marshal(defaults)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(encoded, &f.defaults); err != nil {
		return err
	}
	digest := sha256.New()
	if f.rows, err = f.write(digest, true); err != nil {
		return err
	}
	if f.rows == 0 {
		return fmt.Errorf("%s has no rows", f.name)
	}
	key := c.text("key")
	if key == "" {
		key = "file-" + hex.EncodeToString(digest.Sum(nil))
	}
	begun := time.Now()
	if err := f.send(key, begun); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("%w: run the same command again to get the same links", err)
	}
	if c.text("output") != "" {
		c.warn(fmt.Sprintf("created %d links in %v", f.rows, time.Since(begun).Round(time.Millisecond)))
	}
	return nil
}

// write writes the rows as a stream of links, each on the line that it has in the file, so
// that the server's errors name that. It returns their number. The first time it reports the
// rows that it cannot read.
func (f *linkFile) write(out io.Writer, first bool) (rows int64, err error) {
	file, err := os.Open(f.name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines, line, refused := bufio.NewWriter(out), 1, 0
	for row, err := range admin.ReadLinks(file, f.format) {
		if err != nil {
			return rows, fmt.Errorf("%s: %w", f.name, err)
		}
		link := row.Value
		if row.Err == nil {
			link, row.Err = f.merged(row.Value)
		}
		if row.Err != nil {
			if refused++; first {
				f.warn(fmt.Sprintf("line %d: %v", row.Line, row.Err))
			}
			continue
		}
		rows++
		fmt.Fprintf(lines, "%s%s", strings.Repeat("\n", row.Line-line), link) // Flush returns the error
		line = row.Line
	}
	if refused > 0 {
		return rows, fmt.Errorf("%d rows cannot be read, and no link was created: correct them, and run the command again", refused)
	}
	return rows, lines.Flush()
}

// merged returns the link of a row with the defaults of the command.
func (f *linkFile) merged(row json.RawMessage) (json.RawMessage, error) {
	var own map[string]json.RawMessage
	if err := json.Unmarshal(row, &own); err != nil {
		return nil, err
	}
	link := maps.Clone(f.defaults)
	maps.Copy(link, own)
	var meta, ownMeta map[string]json.RawMessage
	if json.Unmarshal(f.defaults["meta"], &meta) == nil && json.Unmarshal(own["meta"], &ownMeta) == nil {
		maps.Copy(meta, ownMeta)
		merged, err := json.Marshal(meta)
		if err != nil {
			return nil, err
		}
		link["meta"] = merged
	}
	return json.Marshal(link)
}

// send sends the rows, and writes the links that come back.
func (f *linkFile) send(key string, begun time.Time) error {
	name := f.text("output")
	accept := "text/csv"
	if extension := strings.ToLower(filepath.Ext(name)); f.json || extension == ".ndjson" || extension == ".jsonl" {
		accept = "application/x-ndjson"
	}
	body := &payload{kind: "application/x-ndjson", key: key, open: func() io.ReadCloser {
		reader, writer := io.Pipe()
		go func() {
			_, err := f.write(writer, false)
			_ = writer.CloseWithError(err)
		}()
		return reader
	}}
	response, err := f.upload(linksPath+"/batch", nil, body, accept)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if name == "" {
		return f.save(f.out, response, begun)
	}
	// The file has all links, or is not there.
	part := name + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.save(file, response, begun), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, name); err != nil {
		return err
	}
	return nodefile.SyncFolder(name)
}

// save copies the links, and shows how many there are.
func (f *linkFile) save(out io.Writer, response *http.Response, begun time.Time) error {
	progress := newProgress(f.cmd.ErrOrStderr(), response.Body, begun)
	progress.size = f.rows
	defer progress.clear()
	lines, reported := -1, begun
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/x-ndjson") {
		lines = 0 // there is no header
	}
	for buffer := make([]byte, 64<<10); ; {
		n, err := response.Body.Read(buffer)
		lines += bytes.Count(buffer[:n], []byte("\n"))
		if _, err := out.Write(buffer[:n]); err != nil {
			return err
		}
		progress.read = int64(max(lines, 0))
		switch {
		case errors.Is(err, io.EOF) && progress.read == f.rows:
			return nil
		case err != nil:
			return fmt.Errorf("the server's answer ended after %d of %d links: %w", progress.read, f.rows, err)
		}
		if now := time.Now(); !progress.draw(progress.read, progress.read) && now.Sub(reported) >= progressEvery {
			reported = now
			f.warn(fmt.Sprintf("%d of %d links", progress.read, f.rows))
		}
	}
}

// upload sends a stream, and returns a successful response. The caller closes its body.
func (c *call) upload(path string, query url.Values, body *payload, accept string) (*http.Response, error) {
	response, err := c.openWith(c.cmd.Context(), http.MethodPost, path, query, body, accept)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err
	}
	return nil, failure(response)
}
