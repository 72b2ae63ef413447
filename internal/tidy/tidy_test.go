package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/klamm-io/klamm/"

type file struct {
	pkg  string // as rules_test.go names it
	name string // pkg/base.go
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// tree parses every Go file of the module.
func tree(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = strings.TrimPrefix(filepath.ToSlash(rel), "internal/")
		dir := rel[:max(0, strings.LastIndex(rel, "/"))]
		files = append(files, file{pkg: dir, name: rel, test: strings.HasSuffix(rel, "_test.go"), ast: f, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// closure turns the rules into package -> everything it may import.
func closure(rules string) (map[string]map[string]bool, error) {
	direct := map[string]map[string]bool{}
	for _, rule := range strings.Split(rules, ";") {
		rule = strings.TrimSpace(rule)
		if rule == "" {
			continue
		}
		var below []string
		for i, side := range strings.Split(rule, "<") {
			var names []string
			for _, n := range strings.Split(side, ",") {
				names = append(names, strings.TrimSpace(n))
			}
			if i > 0 {
				for _, n := range names {
					if direct[n] == nil {
						direct[n] = map[string]bool{}
					}
					for _, b := range below {
						if b != "NONE" {
							direct[n][b] = true
						}
					}
				}
			}
			below = names
		}
	}
	all := map[string]map[string]bool{}
	var visit func(n string, path []string) (map[string]bool, error)
	visit = func(n string, path []string) (map[string]bool, error) {
		if slices.Contains(path, n) {
			return nil, fmt.Errorf("the rules have a cycle: %v", append(path, n))
		}
		if c, ok := all[n]; ok {
			return c, nil
		}
		c := map[string]bool{}
		for d := range direct[n] {
			c[d] = true
			below, err := visit(d, append(slices.Clone(path), n))
			if err != nil {
				return nil, err
			}
			for b := range below {
				c[b] = true
			}
		}
		all[n] = c
		return c, nil
	}
	for n := range direct {
		if _, err := visit(n, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func imported(f file) []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

func TestImportsFollowTheHouse(t *testing.T) {
	allowed, err := closure(imports)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tree(t) {
		if f.test || strings.HasPrefix(f.pkg, "test/") || strings.Contains(f.pkg, "/gen") {
			continue
		}
		may, known := allowed[f.pkg]
		if !known {
			t.Errorf("%s: package %q has no place in the rules of internal/tidy", f.name, f.pkg)
			continue
		}
		for _, p := range imported(f) {
			name := p
			if own, ok := strings.CutPrefix(p, module); ok {
				name = strings.TrimPrefix(own, "internal/")
				if name != f.pkg && !may[name] {
					t.Errorf("%s: %s must not import %s", f.name, f.pkg, name)
				}
			}
			if slices.Contains(never[f.pkg], name) {
				t.Errorf("%s: %s must never import %s", f.name, f.pkg, name)
			}
		}
	}
}

func TestPureAndSynchronousPackages(t *testing.T) {
	for _, f := range tree(t) {
		isPure, isSync := slices.Contains(pure, f.pkg), slices.Contains(synchronous, f.pkg)
		if f.test || !isPure && !isSync || exempt[f.name] != "" || strings.HasPrefix(f.name, "vfs/os_") {
			continue
		}
		refused := refusedSync
		if isPure {
			refused = refusedPure
		}
		for _, p := range imported(f) {
			if slices.Contains(refused, p) && !(f.pkg == "vfs" && p == "os") {
				t.Errorf("%s: a package of this class must not import %s", f.name, p)
			}
			if isPure && p == module+"internal/storage" {
				t.Errorf("%s: a pure package must not import storage", f.name)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			at := func() string { return f.name + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line) }
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: starts a goroutine", at())
			case *ast.SelectStmt:
				t.Errorf("%s: has a select", at())
			case *ast.ChanType:
				t.Errorf("%s: has a channel", at())
			case *ast.SelectorExpr:
				if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && slices.Contains(refusedTime, n.Sel.Name) {
					t.Errorf("%s: uses time.%s; time is passed in", at(), n.Sel.Name)
				}
			}
			return true
		})
		if isPure {
			constants(t, f)
		}
	}
}

// constants refuses assignments to package-level variables in a pure package: tables are built where they are
// declared and never change.
func constants(t *testing.T, f file) {
	vars := map[string]bool{}
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				vars[n.Name] = true
			}
		}
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		local := map[string]bool{}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				for _, id := range n.Names {
					local[id.Name] = true
				}
			case *ast.ValueSpec:
				for _, id := range n.Names {
					local[id.Name] = true
				}
			case *ast.AssignStmt:
				for _, lhs := range n.Lhs {
					id := base(lhs)
					if id == nil {
						continue
					}
					if n.Tok == token.DEFINE {
						local[id.Name] = true
					} else if vars[id.Name] && !local[id.Name] {
						t.Errorf("%s: %s assigns to the package-level variable %s", f.name, fn.Name.Name, id.Name)
					}
				}
			}
			return true
		})
	}
}

// base finds the identifier that an assignment's left side starts with.
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// Goroutines, selects and timers of runtime packages stand in run.go (server: conn.go too), so that the rest is
// synchronous steps that a simulation can drive.
func TestGoroutinesStandInRunFiles(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || !slices.Contains(runtime, f.pkg) || strings.HasSuffix(f.name, "/run.go") || f.name == "server/conn.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			at := func() string { return f.name + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line) }
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: starts a goroutine outside run.go", at())
			case *ast.SelectStmt:
				t.Errorf("%s: has a select outside run.go", at())
			case *ast.SelectorExpr:
				if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && slices.Contains([]string{"AfterFunc", "NewTimer", "NewTicker", "After", "Tick", "Sleep"}, n.Sel.Name) {
					t.Errorf("%s: starts a timer outside run.go", at())
				}
			}
			return true
		})
	}
}

// The checks themselves must be able to fail.
func TestRulesRefuse(t *testing.T) {
	allowed, err := closure("NONE < a; a < b < c; d < c;")
	if err != nil {
		t.Fatal(err)
	}
	if !allowed["c"]["a"] || allowed["b"]["c"] || allowed["a"]["b"] {
		t.Fatalf("closure is wrong: %v", allowed)
	}
	if _, err := closure("a < b; b < a;"); err == nil {
		t.Fatal("a cycle in the rules was not found")
	}
}
