package upstreamtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// startNode starts an application of each of the common frameworks for Node.js.
func startNode(t *testing.T) []origin {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run `make test`", err)
	}
	apps := copied(t, "node")
	if err := os.Symlink(filepath.Join(unpacked(t), "node", "node_modules"), filepath.Join(apps, "node_modules")); err != nil {
		t.Fatal(err)
	}
	var all []origin
	for _, app := range []struct{ name, file, module string }{
		{"Express 5", "express.js", "express"}, {"Express 4", "express.js", "express4"}, {"Fastify", "fastify.js", "fastify"}, {"Koa", "koa.js", "koa"},
	} {
		port := keystest.FreePort(t)
		run(t, apps, os.Environ(), program, app.file, app.module, port).waitForPort(t, "tcp", "127.0.0.1:"+port)
		framework := proxied(app.name, port, 70)
		framework.plusIsBlank = app.module == "koa"
		all = append(all, framework)
	}
	return all
}

// startPython starts Django and Flask in gunicorn, from Debian's packages.
func startPython(t *testing.T) []origin {
	t.Helper()
	var all []origin
	for _, app := range []struct{ name, object string }{{"Django", "djangoapp:application"}, {"Flask", "flaskapp:app"}} {
		port := keystest.FreePort(t)
		gunicorn(t, copied(t, "python"), port, app.object)
		all = append(all, proxied(app.name, port, 70))
	}
	return all
}

// gunicorn runs an application of a folder, such as `wsgi:application`.
func gunicorn(t *testing.T, dir, port, object string) {
	t.Helper()
	environment := withDebian(t, "PYTHONPATH="+filepath.Join(unpacked(t), "debian", "usr/lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE=1")
	server := run(t, dir, environment, debian(t, "usr/bin/python3.[0-9]*[0-9]", "usr/bin/python3"), debian(t, "usr/bin/gunicorn"),
		"--bind", "127.0.0.1:"+port, "--worker-class", "gthread", "--threads", "8", "--log-level", "critical", object)
	server.waitForPort(t, "tcp", "127.0.0.1:"+port)
}

// java is Debian's virtual machine, or that of the machine.
func java(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(unpacked(t), "debian", "usr/lib/jvm/java-*-openjdk-*/bin/java"))
	if err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	program, err := exec.LookPath("java")
	if err != nil {
		t.Fatalf("%v: run `.ci/origins` again", err)
	}
	return program
}

// startTomcat starts Tomcat with its default servlet and two servlets.
func startTomcat(t *testing.T) []origin {
	t.Helper()
	base, port := folder(t), keystest.FreePort(t)
	for to, from := range map[string]string{"webapps/ROOT": "testdata/tomcat/site", "conf": "testdata/tomcat/conf"} {
		if err := os.CopyFS(filepath.Join(base, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Dir(filepath.Dir(debian(t, "usr/share/tomcat1[0-9]/bin/bootstrap.jar")))
	server := run(t, base, withDebian(t), java(t), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", home+"/bin/bootstrap.jar:"+home+"/bin/tomcat-juli.jar",
		"-Dcatalina.base="+base, "-Dcatalina.home="+home, "-Dorigin.port="+port, "-Djava.io.tmpdir="+base, "org.apache.catalina.startup.Bootstrap", "start")
	server.waitForPort(t, "tcp", "127.0.0.1:"+port)
	return []origin{proxied("Tomcat", port, 150)}
}
