package client

import (
	"fmt"
	"os"

	"github.com/klamm-io/klamm/internal/config"
)

// ReadProperties reads a file in the format of java.util.Properties, as --command-config names it.
func ReadProperties(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("property file: %w", err)
	}
	defer f.Close()
	props, err := config.ParseProperties(f)
	if err != nil {
		return nil, fmt.Errorf("property file %s: %w", path, err)
	}
	return props, nil
}
