<%@ page contentType="text/plain; charset=UTF-8" session="false" trimDirectiveWhitespaces="true" import="java.net.URLEncoder" %><%
String info = request.getPathInfo();
String name = "/article".equals(request.getServletPath()) ? request.getParameter("article_id") : info == null ? "" : info.substring(1).split("/", 2)[0];
if (name == null || name.isEmpty()) {
	response.sendError(404);
	return;
}
response.setHeader("X-Origin-Page", "SECRET-HEADER");
response.addHeader("Set-Cookie", "page=SECRET-COOKIE");
%>SECRET-ARTICLE:<%= URLEncoder.encode(name, "UTF-8").replace("+", "%20") %>;
