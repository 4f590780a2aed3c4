package admin

import (
	"io"
	"net/http"
	"time"
)

// BodyTimeout is the time in which the body of a request must arrive, unless an
// operation allows more.
const BodyTimeout = defaultReadTimeout

// LimitBody bounds the time in which the body of a request may arrive, whether or not
// a handler reads it: net/http reads the rest of a body before it sends the response.
// The deadline ends with the body, because a connection that fails later would cancel
// the request.
func LimitBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(timeout)) == nil {
		r.Body = &timedBody{r.Body, control}
	}
}

// timedBody is a body whose end removes the read deadline.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { //nolint:errorlint // io.Reader requires it unwrapped
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
