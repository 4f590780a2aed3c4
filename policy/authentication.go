package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authentication is what a page asks of how and when its reader logged in. The zero value
// asks nothing.
type Authentication struct {
	// ACR are authentication context classes (`acr`, OpenID Connect Core 1.0, section 2),
	// separated by spaces, of which the credential must have one; empty for any.
	ACR string
	// MaxAge is the greatest age of the login (`auth_time`), in seconds; zero for any.
	MaxAge int64
}

const (
	// maxACRValues bounds the classes of a page, with the spaces between them, in bytes: they
	// are in the URL of the login, and in its state.
	maxACRValues = 255
	// minAuthAge and maxAuthAge bound the age of a login that a page asks for, in seconds. A
	// shorter one could be over before the reader is back at the page.
	minAuthAge = int64(2 * time.Minute / time.Second)
	maxAuthAge = int64(400 * 24 * time.Hour / time.Second)
	// authSkew is how far `auth_time` may be ahead of this node's clock, in seconds.
	authSkew = 60
)

// ParseAuthentication returns an Authentication of the texts that it has in a URL and in a
// challenge (RFC 9470, section 3): classes separated by spaces, and seconds. Both may be empty.
func ParseAuthentication(acrValues, maxAge string) (a Authentication, err error) {
	if maxAge != "" {
		if a.MaxAge, err = strconv.ParseInt(maxAge, 10, 64); err != nil {
			return Authentication{}, errors.New("max_age must be a number of seconds")
		}
	}
	a.ACR = acrValues
	if err := a.check(maxAge != ""); err != nil {
		return Authentication{}, err
	}
	return a, nil
}

// check returns an error for classes that cannot be sent as they are, and for an age out of
// bounds.
func (a Authentication) check(aged bool) error {
	switch {
	case len(a.ACR) > maxACRValues:
		return fmt.Errorf("the values of acr have more than %d bytes", maxACRValues)
	case strings.ContainsFunc(a.ACR, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune(`"\{}`, c) }):
		return errors.New("a value of acr must be ASCII text without spaces, quotes, backslashes and braces, such as phr")
	case aged && (a.MaxAge < minAuthAge || a.MaxAge > maxAuthAge):
		return fmt.Errorf("max_age must be 2m to 9600h, and is %s", time.Duration(min(max(a.MaxAge, 0), maxAuthAge+1))*time.Second)
	}
	return nil
}

// MetBy returns nil if a reader's login is as asked at a moment, in Unix milliseconds, and
// otherwise an error that says what is missing.
func (a Authentication) MetBy(reader *Reader, now int64) error {
	if a.ACR != "" && !hasMethod(a.ACR, []string{reader.ACR}) {
		if reader.ACR == "" {
			return fmt.Errorf("the login has no acr, and the page accepts %s", a.ACR)
		}
		return fmt.Errorf("the acr of the login is %q, and the page accepts %s", reader.ACR, a.ACR)
	}
	if a.MaxAge == 0 {
		return nil
	}
	switch age := now/1000 - reader.AuthTime; {
	case reader.AuthTime == 0:
		return errors.New("the login has no auth_time, and the page has a max_age")
	case age < -authSkew:
		return fmt.Errorf("auth_time is %d seconds ahead of this node's clock", -age)
	case age >= a.MaxAge:
		return fmt.Errorf("the login is %d seconds old, and max_age of the page is %d", age, a.MaxAge)
	}
	return nil
}

// authenticationTest allows readers whose login is as the rule asks.
type authenticationTest struct{ Authentication }

func (t authenticationTest) Test(q *Question) Reason {
	if !q.Reader.Anonymous() && t.MetBy(q.Reader, q.Now) == nil {
		if t.MaxAge != 0 {
			q.holdsUntil((q.Reader.AuthTime + t.MaxAge) * 1000)
		}
		return ReasonAuthenticated
	}
	q.demand(Demand{ACR: t.ACR, MaxAge: t.MaxAge})
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	return ReasonStepUpRequired
}

func compileAuthenticated(arguments Arguments, _ []string) (Test, error) {
	if len(arguments) == 0 {
		return authenticatedTest{}, nil
	}
	if err := arguments.only("acr", "max_age"); err != nil {
		return nil, err
	}
	classes, err := arguments.list("acr")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(classes, func(text string) bool { return text == "" || strings.Contains(text, " ") }) {
		return nil, errors.New("a value of acr is empty, or has a space: separate values are elements of a list")
	}
	text, aged, err := arguments.text("max_age")
	if err != nil {
		return nil, err
	}
	asked := Authentication{ACR: strings.Join(classes, " ")}
	if aged {
		age, err := time.ParseDuration(text)
		if err != nil || age%time.Second != 0 {
			return nil, errors.New("max_age must be a duration of whole seconds, such as 15m")
		}
		asked.MaxAge = int64(age / time.Second)
	}
	if err := asked.check(aged); err != nil {
		return nil, err
	}
	if asked == (Authentication{}) {
		return authenticatedTest{}, nil
	}
	return authenticationTest{asked}, nil
}

// authenticatedWords parses `acr <value…>` and `max_age <duration>`, in any order.
func authenticatedWords(words []string) (Arguments, error) {
	arguments := Arguments{}
	for len(words) > 0 {
		name := words[0]
		if _, twice := arguments[name]; twice || name != "acr" && name != "max_age" {
			return nil, errors.New("write `authenticated [acr <value…>] [max_age <duration>]`, each once")
		}
		end := 1
		for end < len(words) && words[end] != "acr" && words[end] != "max_age" && (name == "acr" || end < 2) {
			end++
		}
		if end == 1 {
			return nil, fmt.Errorf("%s has no value: write `acr phr` or `max_age 15m`", name)
		}
		var value any = words[1:end]
		if name == "max_age" {
			value = words[1]
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		arguments[name], words = encoded, words[end:]
	}
	return arguments, nil
}
