tslmPage.ready = start();
