package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress draws the progress of reading a file on a terminal. On any other output it
// draws nothing.
type progress struct {
	reader io.Reader // reads the file
	out    *os.File  // nil if it is no terminal
	size   int64     // bytes of the file; 0 if that is not known
	read   int64
	began  time.Time
	drawn  time.Time
}

const (
	drawEvery     = 100 * time.Millisecond
	barWidth      = 30
	clearTerminal = "\r\x1b[K" // erases the line (ECMA-48, EL)
)

// newProgress returns the progress of reading a file, drawn on out.
func newProgress(out io.Writer, file io.Reader, began time.Time) *progress {
	p := &progress{began: began}
	p.reader = io.TeeReader(file, (*byteCount)(&p.read))
	if terminal, ok := out.(*os.File); ok && term.IsTerminal(int(terminal.Fd())) {
		p.out = terminal
	}
	if regular, ok := file.(*os.File); ok {
		if info, err := regular.Stat(); err == nil && info.Mode().IsRegular() {
			p.size = info.Size()
		}
	}
	return p
}

// byteCount counts the bytes written to it.
type byteCount int64

func (b *byteCount) Write(p []byte) (int, error) { *b += byteCount(len(p)); return len(p), nil }

// draw draws the bar, unless it did a moment ago. It reports whether there is a terminal
// to draw on.
func (p *progress) draw(rows, sent int64) bool {
	if p.out == nil {
		return false
	}
	now := time.Now()
	if now.Sub(p.drawn) < drawEvery {
		return true
	}
	p.drawn = now
	passed := now.Sub(p.began)
	text := fmt.Sprintf("%d rows, %.0f per second", rows, float64(sent)/max(passed.Seconds(), 0.001))
	if p.size > 0 {
		done := min(1, float64(p.read)/float64(p.size))
		filled := int(done * barWidth)
		left := time.Duration(float64(passed) * (1 - done) / max(done, 0.001)).Round(time.Second)
		text = fmt.Sprintf("[%s%s] %3.0f%%  %s, %v left", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), 100*done, text, left)
	}
	fmt.Fprint(p.out, clearTerminal, text)
	return true
}

// clear erases the bar, for other output and at the end.
func (p *progress) clear() {
	if p != nil && p.out != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.out, clearTerminal)
		p.drawn = time.Time{}
	}
}
