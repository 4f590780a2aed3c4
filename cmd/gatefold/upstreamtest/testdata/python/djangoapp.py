from urllib.parse import quote

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not used",
)


def secret(page):
    response = HttpResponse(page)
    response["X-Origin-Page"] = "SECRET-HEADER"
    response.set_cookie("page", "SECRET-COOKIE")
    return response


def front(request):
    return HttpResponse("PUBLIC-PAGE")


def articles(request, name):
    return secret("SECRET-ARTICLE:%s;" % quote(name, safe=""))


def article(request):
    if not request.GET.get("article_id"):
        raise Http404
    return articles(request, request.GET["article_id"])


def account(request):
    return secret("SECRET-ACCOUNT;")


urlpatterns = [
    path("", front),
    path("articles/<str:name>", articles),
    path("articles/<str:name>/", articles),
    path("article", article),
    path("account", account),
    path("account/", account),
]
application = get_wsgi_application()
