<%@ page contentType="text/plain; charset=UTF-8" session="false" trimDirectiveWhitespaces="true" %><%
response.setHeader("X-Origin-Page", "SECRET-HEADER");
response.addHeader("Set-Cookie", "page=SECRET-COOKIE");
%>SECRET-ACCOUNT;
