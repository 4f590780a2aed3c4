package policy

import (
	"encoding/json"
	"errors"
	"fmt"
)

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: "all", Words: wordList("steps"), Records: true, Compile: compileAll})
}

// allTest allows a reader whom each of its tests allows.
type allTest []Test

func compileAll(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("steps"); err != nil {
		return nil, err
	}
	var steps []Allow
	if err := json.Unmarshal(arguments["steps"], &steps); err != nil {
		return nil, errors.New(`the argument steps must be a list of steps, as ["signed","direct"]`)
	}
	if len(steps) < 2 || len(steps) > maxSteps {
		return nil, fmt.Errorf("it needs 2 to %d steps", maxSteps)
	}
	test := make(allTest, len(steps))
	for i := range steps {
		operator, err := StandardOperators().Find(steps[i].Operator)
		switch {
		case err != nil:
			return nil, err
		case operator.Name == operatorMetered:
			return nil, fmt.Errorf("%s is a step of its own: it is asked after all others", operator.Name)
		case operator.Name == "any", operator.Name == "all":
			return nil, fmt.Errorf("%s has no meaning within it: leave it out", operator.Name)
		}
		if test[i], err = operator.Compile(steps[i].Arguments, captures); err != nil {
			return nil, fmt.Errorf("%s: %w", operator.Name, err)
		}
	}
	return test, nil
}

func (t allTest) Test(q *Question) (reason Reason) {
	for _, step := range t {
		if reason = q.test(step); !reason.Allows() {
			break
		}
	}
	return reason
}
