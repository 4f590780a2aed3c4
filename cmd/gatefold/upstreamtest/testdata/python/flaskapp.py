from urllib.parse import quote

from flask import Flask, abort, make_response, request

app = Flask(__name__)


def secret(page):
    response = make_response(page)
    response.headers["X-Origin-Page"] = "SECRET-HEADER"
    response.set_cookie("page", "SECRET-COOKIE")
    return response


@app.route("/")
def front():
    return "PUBLIC-PAGE"


@app.route("/articles/<name>")
def articles(name):
    return secret("SECRET-ARTICLE:%s;" % quote(name, safe=""))


@app.route("/article")
def article():
    return articles(request.args.get("article_id") or abort(404))


@app.route("/account")
def account():
    return secret("SECRET-ACCOUNT;")
