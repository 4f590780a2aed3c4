package command

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// recordResult is the progress of an import of records, and at its end the result.
type recordResult struct {
	Position  int64      `json:"position"`
	Created   int64      `json:"created"`
	Changed   int64      `json:"changed"`
	Unchanged int64      `json:"unchanged"`
	Failed    int64      `json:"failed"`
	Errors    []rowFault `json:"errors"`
}

// rowFault is why a row was refused.
type rowFault struct {
	Line    int    `json:"line"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

func (f *rowFault) text() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// send sends rows to the import of a kind, and follows its progress.
func (k *recordKind) send(c *call, result *recordResult, body *payload) error {
	return k.sendWith(c, result, body, nil, func() {})
}

func (k *recordKind) sendWith(c *call, result *recordResult, body *payload, query url.Values, stored func()) error {
	response, err := c.openWith(c.cmd.Context(), http.MethodPost, recordsPath+"/"+k.plural+"/import", query, body, "application/x-ndjson")
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return failure(response)
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var next struct {
			recordResult
			Finished bool            `json:"finished"`
			Problem  json.RawMessage `json:"problem"`
		}
		if err := lines.Decode(&next); err != nil {
			return fmt.Errorf("the server's answer was cut short: %w", err)
		}
		*result = next.recordResult
		stored()
		switch {
		case next.Problem != nil:
			return answerError(http.StatusInternalServerError, next.Problem)
		case next.Finished:
			return nil
		}
	}
}

// importFile imports the lines of a file. The same file resumes an import that was
// interrupted.
func (k *recordKind) importFile(c *call) error {
	var file io.ReadCloser = io.NopCloser(c.cmd.InOrStdin())
	key := ""
	if name := c.args[0]; name != "-" {
		opened, err := os.Open(name)
		if err != nil {
			return err
		}
		defer opened.Close()
		digest := sha256.New()
		if _, err := io.Copy(digest, opened); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if _, err := opened.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		file, key = opened, "file-"+hex.EncodeToString(digest.Sum(nil))
	}
	bar := newProgress(c.cmd.ErrOrStderr(), file, time.Now())
	var result recordResult
	var err error
	if k.stream {
		query := url.Values{}
		if c.on("dry-run") {
			query.Set("dryRun", "true")
			key = ""
		}
		body := &payload{kind: "application/x-ndjson", key: key, open: func() io.ReadCloser { return io.NopCloser(bar.reader) }}
		err = k.sendWith(c, &result, body, query, func() { bar.draw(result.Position, result.Position) })
	} else {
		err = k.importEach(c, &result, bar.reader)
	}
	bar.clear()
	for _, fault := range result.Errors {
		c.warn(fmt.Sprintf("line %d: %s", fault.Line, fault.text()))
	}
	if err != nil {
		if result.Position > 0 {
			err = fmt.Errorf("%w; %d rows are done: run the same command again to resume", err, result.Position)
		}
		return err
	}
	text := line("created %d %s, changed %d, left %d unchanged", result.Created, k.plural, result.Changed, result.Unchanged)
	if c.on("dry-run") {
		text = line("would create %d %s, change %d, leave %d unchanged; nothing was changed", result.Created, k.plural, result.Changed, result.Unchanged)
	}
	if err = c.print(result, text); result.Failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d rows were not imported", result.Failed))
	}
	return err
}

// maxRecordLine bounds a line of a file: an agreement of 256 KiB in JSON.
const maxRecordLine = 2 << 20

// importEach imports line by line, for a kind without a stream.
func (k *recordKind) importEach(c *call, result *recordResult, file io.Reader) error {
	if c.on("dry-run") {
		return fmt.Errorf("--dry-run: %s have none", k.plural)
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxRecordLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var row map[string]any
		err := json.Unmarshal(lines.Bytes(), &row)
		if err == nil {
			err = k.store(c, result, row)
		}
		if result.Position++; err != nil {
			result.Failed++
			result.Errors = append(result.Errors, rowFault{Line: n, Message: err.Error()})
		}
	}
	return lines.Err()
}
