package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// operatorMetered is the name of the operator of meters.
const operatorMetered = "metered"

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: operatorMetered, Words: meterWords, Compile: compileMetered})
}

// MaxMeterViews bounds the limit of a meter: what readers opened by it is kept in one record,
// and in one cookie.
const MaxMeterViews = 100

// The readers of a meter, besides all.
const (
	meterAnonymous     = "anonymous"
	meterAuthenticated = "authenticated"
)

// meterTest gives readers a number of pages in a period. It is asked after all other steps,
// site licences and links, see decideByMeter. As a step of its own it allows no request.
type meterTest struct {
	Name string `json:"name"`
	// Limit is the number of pages, each with its own content, in a period.
	Limit int `json:"limit"`
	// Per is the period: day, week, month or 30d.
	Per string `json:"per"`
	// Readers are `anonymous` or `authenticated`; empty for both.
	Readers string `json:"readers,omitempty"`
}

const meterSyntax = "write `metered <name> <number> per day|week|month|30d [anonymous|authenticated]`"

func meterWords(words []string) (Arguments, error) {
	if len(words) != 4 && len(words) != 5 || words[2] != "per" {
		return nil, errors.New(meterSyntax)
	}
	limit, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, fmt.Errorf("%q is not a number: %s", words[1], meterSyntax)
	}
	meter := meterTest{Name: words[0], Limit: limit, Per: words[3]}
	if len(words) == 5 {
		meter.Readers = words[4]
	}
	encoded, err := json.Marshal(meter)
	return Arguments{"meter": encoded}, err
}

func compileMetered(arguments Arguments, _ []string) (Test, error) {
	if err := arguments.only("meter"); err != nil {
		return nil, err
	}
	test := new(meterTest)
	decoder := json.NewDecoder(bytes.NewReader(arguments["meter"]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(test); err != nil {
		return nil, errors.New(`the argument meter must be an object such as {"name": "free", "limit": 3, "per": "month"}`)
	}
	switch {
	case !spacePattern.MatchString(test.Name):
		return nil, fmt.Errorf("the name %q must be lower-case letters, digits and hyphens, at most 63", test.Name)
	case test.Limit < 1 || test.Limit > MaxMeterViews:
		return nil, fmt.Errorf("the limit must be from 1 to %d: without any page, leave the step out", MaxMeterViews)
	case !isMeterPeriod(test.Per):
		return nil, fmt.Errorf("the period %q is none of day, week, month and 30d", test.Per)
	case test.Readers != "" && test.Readers != meterAnonymous && test.Readers != meterAuthenticated:
		return nil, fmt.Errorf("the readers %q are neither anonymous nor authenticated", test.Readers)
	}
	return test, nil
}

// Test denies: nothing of a meter is spent while another step, a licence or a link may allow.
func (*meterTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	return ReasonNotEntitled
}

// counts reports whether the meter is one for a reader.
func (t *meterTest) counts(reader *Reader) bool {
	switch t.Readers {
	case meterAnonymous:
		return reader.Anonymous()
	case meterAuthenticated:
		return !reader.Anonymous()
	default:
		return true
	}
}

// meters returns the meters of a rule.
func (s *compiledSteps) meters() []*meterTest {
	if s.options == nil {
		return nil
	}
	return s.options.meters
}

// addMeter adds a step that is a meter to the others: as a step only if there is no other,
// so that a denial has the reason of those.
func (s *compiledSteps) addMeter(test Test) bool {
	meter, ok := test.(*meterTest)
	if !ok {
		return false
	}
	if s.options == nil {
		s.options = new(compiledOptions)
	}
	s.options.meters = append(s.options.meters, meter)
	return true
}

// finishMeters checks the meters of a rule, once it is complete.
func (s *compiledSteps) finishMeters() error {
	meters := s.meters()
	for i, meter := range meters {
		for _, earlier := range meters[:i] {
			if earlier.Name == meter.Name {
				return fmt.Errorf("%s: two steps are of the meter %s: give them different names", operatorMetered, meter.Name)
			}
		}
	}
	for _, step := range s.steps {
		if _, asks := step.(*originTest); asks && len(meters) > 0 {
			return fmt.Errorf("%s: the origin says what a page of the rule requires only with the page itself: give metered pages a rule of their own", operatorMetered)
		}
	}
	if len(s.steps) == 0 && len(meters) > 0 {
		s.steps = []Test{meters[0]}
	}
	return nil
}
