package cli_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/klamm-io/klamm/internal/cli"
)

// TestMain makes every tool a command of the scripts.
func TestMain(m *testing.M) {
	commands := map[string]func(){}
	for _, name := range cli.Names() {
		commands[name] = func() {
			code, _ := cli.Run(context.Background(), name, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
			os.Exit(code)
		}
	}
	testscript.Main(m, commands)
}

const runningCluster = "KLAMM_TEST_BOOTSTRAP"

// TestScripts runs testdata/*.txtar, each against a broker of its own; $SERVER is its address. The
// expected outputs are those of Apache Kafka 4.3.1's tools. KLAMM_TEST_BOOTSTRAP names a running cluster to run against
// instead of the fake one; it must be empty, and [real] holds there.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Condition: func(cond string) (bool, error) {
			if cond != "real" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return os.Getenv(runningCluster) != "", nil
		},
		Setup: func(env *testscript.Env) error {
			server := os.Getenv(runningCluster)
			if server == "" {
				cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1), kfake.AllowAutoTopicCreation(),
					kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
				if err != nil {
					return err
				}
				env.Defer(cluster.Close)
				server = strings.Join(cluster.ListenAddrs(), ",")
			}
			env.Setenv("SERVER", server)
			return nil
		},
	})
}
